// An API as people write them: Fastify in front of PostgreSQL. Users with sessions, orders with a state that changes.
import fastify from "fastify";
import pg from "pg";
import { randomUUID } from "node:crypto";

const [port, database] = process.argv.slice(2);
const pool = new pg.Pool({ connectionString: database, max: 8 });
await pool.query(`CREATE SCHEMA IF NOT EXISTS lab_api;
  CREATE TABLE IF NOT EXISTS lab_api.users (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, born date);
  CREATE TABLE IF NOT EXISTS lab_api.sessions (sid uuid PRIMARY KEY, user_id bigint REFERENCES lab_api.users ON DELETE CASCADE);
  CREATE TABLE IF NOT EXISTS lab_api.orders (id bigserial PRIMARY KEY, user_id bigint REFERENCES lab_api.users ON DELETE CASCADE,
    item text NOT NULL, price numeric(8,2) NOT NULL, made timestamptz NOT NULL DEFAULT now());`);
const app = fastify({ logger: false });

const session = async (request, reply) => {
  const sid = /(?:^|; )sid=([0-9a-f-]{36})/.exec(request.headers.cookie ?? "")?.[1];
  const found = sid && (await pool.query("SELECT user_id FROM lab_api.sessions WHERE sid = $1", [sid])).rows[0];
  if (!found) return reply.code(401).send({ error: "log in first" });
  request.user = found.user_id;
};

app.get("/healthz", async () => ({ status: "ok", database: (await pool.query("SELECT 1 AS up")).rows[0].up }));

app.post("/users", { schema: { body: { type: "object", required: ["name"], properties: { name: { type: "string", minLength: 1 }, born: { type: "string", format: "date" } } } } },
  async (request, reply) => {
    try {
      const made = await pool.query("INSERT INTO lab_api.users (name, born) VALUES ($1, $2) RETURNING id, name, born", [request.body.name, request.body.born ?? null]);
      return reply.code(201).header("location", `/users/${made.rows[0].id}`).send(made.rows[0]);
    } catch (error) {
      if (error.code === "23505") return reply.code(409).send({ error: "the name is taken" });
      throw error;
    }
  });

app.post("/login", async (request, reply) => {
  const found = (await pool.query("SELECT id FROM lab_api.users WHERE name = $1", [request.body?.name])).rows[0];
  if (!found) return reply.code(403).send({ error: "nobody of that name" });
  const sid = randomUUID();
  await pool.query("INSERT INTO lab_api.sessions VALUES ($1, $2)", [sid, found.id]);
  return reply.header("set-cookie", `sid=${sid}; Path=/; HttpOnly; Max-Age=3600`).send({ token: sid });
});

app.get("/orders", { preHandler: session }, async (request) => {
  const { rows } = await pool.query("SELECT id, item, price, made FROM lab_api.orders WHERE user_id = $1 AND price >= $2 ORDER BY id", [request.user, request.query.min ?? 0]);
  return { count: rows.length, orders: rows };
});

app.post("/orders", { preHandler: session }, async (request, reply) => {
  const made = await pool.query("INSERT INTO lab_api.orders (user_id, item, price) VALUES ($1, $2, $3) RETURNING id, item, price", [request.user, request.body.item, request.body.price]);
  return reply.code(201).send(made.rows[0]);
});

// An order is shipped a moment after it was made, so that somebody has to wait for it.
app.get("/orders/:id", { preHandler: session }, async (request, reply) => {
  const { rows } = await pool.query("SELECT id, item, CASE WHEN now() - made > interval '400 ms' THEN 'shipped' ELSE 'packed' END AS state FROM lab_api.orders WHERE id = $1 AND user_id = $2", [request.params.id, request.user]);
  return rows[0] ?? reply.code(404).send({ error: "no such order" });
});

app.delete("/users/:id", async (request, reply) => {
  const gone = await pool.query("DELETE FROM lab_api.users WHERE id = $1", [request.params.id]);
  return reply.code(gone.rowCount ? 204 : 404).send();
});

await app.listen({ host: "127.0.0.1", port: Number(port) });
