# shellcheck shell=bash
# An nginx with a small site that looks like a real one: static pages, JSON, a login whose cookie and ids are new each time,
# redirects and errors. Sourced after common.sh.
#
#   lab_nginx_start DIR   starts it and returns at once
#   lab_nginx_ready       waits, exports VICE_LAB_NGINX (the program), VICE_LAB_NGINX_URL (HTTP/1.1), VICE_LAB_NGINX_H2
#                         (HTTP/2 without TLS), VICE_LAB_NGINX_TLS (HTTP/1.1 and HTTP/2 over TLS), VICE_LAB_NGINX_CA (the
#                         root to trust for it) and VICE_LAB_NGINX_LOG (the access log, in the combined format)
#   lab_nginx_stop

LAB_NGINX_PID=

# A root, and a certificate of its for localhost: root.pem, site.pem and site.key in DIR.
lab_nginx_certificate() {
    local dir=$1
    (
        cd "$dir"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=lab root" \
            -keyout root.key -out root.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=localhost" -keyout site.key -out site.csr
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n' >site.ext
        openssl x509 -req -in site.csr -CA root.pem -CAkey root.key -CAcreateserial -days 30 -extfile site.ext -out site.pem
    ) >"$dir/openssl.log" 2>&1 || { cat "$dir/openssl.log" >&2; lab_die "openssl made no certificate for the nginx."; }
}

lab_nginx_start() {
    local dir=$1 p n
    mkdir -p "$dir/site/items"
    read -r -a p <<<"$(lab_ports 3)"
    lab_nginx_certificate "$dir"
    for n in 1 2 3 4 5 6 7 8 9 10; do
        printf '{"id":%s,"name":"item %s","price":%s.5}\n' "$n" "$n" "$n" >"$dir/site/items/$n"
    done
    printf '<!doctype html><title>Lab</title><p>Hello from the lab.\n' >"$dir/site/index.html"
    head -c 262144 /dev/zero | tr '\0' x >"$dir/site/large.txt"
    cat >"$dir/nginx.conf" <<CONF
daemon off; master_process off; pid $dir/pid; error_log $dir/error.log;
events { worker_connections 1024; }
http {
  access_log $dir/access.log combined; keepalive_requests 1000000; tcp_nodelay on;
  client_body_temp_path $dir/a; proxy_temp_path $dir/b; fastcgi_temp_path $dir/c; uwsgi_temp_path $dir/d;
  scgi_temp_path $dir/e; types { text/html html; text/plain txt; } gzip on; gzip_types *; gzip_min_length 1;
  server {
    listen 127.0.0.1:${p[0]}; listen 127.0.0.1:${p[1]} http2;
    listen 127.0.0.1:${p[2]} ssl http2; ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate $dir/site.pem; ssl_certificate_key $dir/site.key;
    root $dir/site;
    location /items/ { default_type application/json; }
    location = /login {
      default_type application/json; add_header Set-Cookie "sid=\$request_id; Path=/; HttpOnly";
      return 200 '{"user":"ada","token":"\$request_id","time":"\$time_iso8601"}';
    }
    location = /me {
      default_type application/json;
      if (\$cookie_sid = "") { return 401 '{"error":"log in first"}'; }
      return 200 '{"user":"ada","session":"\$cookie_sid","request":"\$request_id"}';
    }
    location = /old { return 301 /; }
    location = /broken { return 500 '{"error":"broken"}'; }
  }
}
CONF
    # A server's program need not be on the path of an ordinary user.
    LAB_NGINX=$(PATH=$PATH:/usr/sbin command -v nginx)
    lab_leashed "$LAB_NGINX" -p "$dir" -c "$dir/nginx.conf" >"$dir/nginx.log" 2>&1 </dev/null &
    LAB_NGINX_PID=$!
    LAB_NGINX_DIR=$dir
    LAB_NGINX_URL=http://127.0.0.1:${p[0]}
    LAB_NGINX_H2=http://127.0.0.1:${p[1]}
    LAB_NGINX_TLS=https://localhost:${p[2]}
}

lab_nginx_ready() {
    if ! lab_wait 30 "$LAB_NGINX_PID" curl -sf -o /dev/null "$LAB_NGINX_URL/"; then
        tail -n 20 "$LAB_NGINX_DIR/nginx.log" "$LAB_NGINX_DIR/error.log" >&2
        lab_die "The nginx did not become ready within 30 s."
    fi
    export VICE_LAB_NGINX=$LAB_NGINX
    export VICE_LAB_NGINX_URL=$LAB_NGINX_URL
    export VICE_LAB_NGINX_H2=$LAB_NGINX_H2
    export VICE_LAB_NGINX_TLS=$LAB_NGINX_TLS
    export VICE_LAB_NGINX_CA=$LAB_NGINX_DIR/root.pem
    export VICE_LAB_NGINX_LOG=$LAB_NGINX_DIR/access.log
}

lab_nginx_stop() {
    [[ -n $LAB_NGINX_PID ]] || return 0
    kill -KILL "$LAB_NGINX_PID" 2>/dev/null || true
    wait "$LAB_NGINX_PID" 2>/dev/null || true
    LAB_NGINX_PID=
}
