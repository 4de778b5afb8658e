//! Showing a broker who this is: PLAIN, or SCRAM (RFC 5802), which never sends the password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha512};
use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result, Secret};

/// How often a broker may have a password hashed: more is only there to hold a client up.
const ROUNDS_MAX: u32 = 200_000;

/// The least that makes sense.
const ROUNDS_MIN: u32 = 4_096;

/// The ways that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    Scram256,
    Scram512,
}

impl Way {
    const ALL: [Self; 3] = [Self::Plain, Self::Scram256, Self::Scram512];

    /// As brokers name it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram256 => "SCRAM-SHA-256",
            Self::Scram512 => "SCRAM-SHA-512",
        }
    }
}

/// Who this is.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) way: Way,
    pub(super) user: String,
    pub(super) password: Secret,
}

impl Login {
    /// From the variables; none where no user is set.
    ///
    /// # Errors
    /// `Usage` for a way that is not spoken.
    pub(super) fn of(env: &ProcessEnv) -> Result<Option<Self>> {
        let Some(user) = env.get("KAFKA_USER") else { return Ok(None) };
        let named = env.get("KAFKA_SASL").unwrap_or("scram-sha-256");
        let way = Way::ALL.into_iter().find(|way| way.name().eq_ignore_ascii_case(named)).ok_or_else(|| {
            Fault::new(Code::Usage, "KAFKA_SASL names a way that is not spoken.")
                .hint("Set it to plain, scram-sha-256 or scram-sha-512.")
        })?;
        let password = Secret::new(env.get("KAFKA_PASSWORD").unwrap_or_default());
        Ok(Some(Self { way, user: user.to_owned(), password }))
    }

    /// The only message of PLAIN.
    pub(super) fn plain(&self) -> Vec<u8> {
        format!("\0{}\0{}", self.user, self.password.reveal()).into_bytes()
    }
}

/// A conversation of SCRAM under way.
pub(super) struct Scram {
    way: Way,
    nonce: String,
    bare: String,
}

impl Scram {
    pub(super) fn new(login: &Login, nonce: String) -> Self {
        let user = login.user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        Self { way: login.way, nonce, bare }
    }

    /// What the client says first.
    pub(super) fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    /// What the client answers, and what the server has to say then, which shows that it knows the password as well.
    pub(super) fn answer(&self, challenge: &[u8], password: &Secret) -> Result<(Vec<u8>, String), &'static str> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| "its challenge is no text")?;
        let part = |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name));
        let nonce =
            part("r=").filter(|nonce| nonce.starts_with(&self.nonce)).ok_or("its challenge is another one's")?;
        let salt = part("s=").and_then(|salt| BASE64.decode(salt).ok()).ok_or("its challenge has no salt")?;
        let rounds: u32 = part("i=").and_then(|rounds| rounds.parse().ok()).ok_or("its challenge has no rounds")?;
        if !(ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds) {
            return Err("it wants a number of rounds that makes no sense");
        }
        let unproven = format!("c=biws,r={nonce}");
        let said = format!("{},{challenge},{unproven}", self.bare);
        let (proof, server) = match self.way {
            Way::Scram512 => prove_512(password, &salt, rounds, &said),
            _ => prove_256(password, &salt, rounds, &said),
        };
        let answer = format!("{unproven},p={}", BASE64.encode(proof));
        Ok((answer.into_bytes(), format!("v={}", BASE64.encode(server))))
    }
}

macro_rules! prove {
    ($name:ident, $hash:ty) => {
        /// The proof of the client and the signature of the server.
        fn $name(password: &Secret, salt: &[u8], rounds: u32, said: &str) -> (Vec<u8>, Vec<u8>) {
            let mac = |key: &[u8], parts: &[&[u8]]| {
                // A key of any length fits: one that is too long is hashed before.
                let mut mac =
                    Hmac::<$hash>::new_from_slice(key).unwrap_or_else(|_| Hmac::<$hash>::new(&Default::default()));
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            };
            let password = password.reveal().as_bytes();
            let mut block = mac(password, &[salt, &1_u32.to_be_bytes()]);
            let mut salted = block.clone();
            for _ in 1..rounds {
                block = mac(password, &[&block]);
                salted.iter_mut().zip(&block).for_each(|(sum, byte)| *sum ^= byte);
            }
            let client = mac(&salted, &[b"Client Key"]);
            let stored = <$hash>::digest(&client);
            let signature = mac(&stored, &[said.as_bytes()]);
            let proof = client.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
            (proof, mac(&mac(&salted, &[b"Server Key"]), &[said.as_bytes()]))
        }
    };
}

prove!(prove_256, Sha256);
prove!(prove_512, Sha512);

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn scram_is_that_of_the_standard() {
        let password = Secret::new("pencil");
        let login = Login { way: Way::Scram256, user: "user".into(), password: password.clone() };
        let scram = Scram::new(&login, "rOprNGfwEbeRWgbNEkqO".into());
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (answer, server) = scram.answer(challenge, &password).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
        assert_eq!(server, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn challenges_that_make_no_sense_are_refused() {
        let login = Login { way: Way::Scram512, user: "a=b,c".into(), password: Secret::new("x") };
        let scram = Scram::new(&login, "own".into());
        assert_eq!(scram.first(), b"n,,n=a=3Db=2Cc,r=own");
        for challenge in [
            "",
            "r=other,s=eA==,i=4096",
            "r=own1,i=4096",
            "r=own1,s=eA==",
            "r=own1,s=eA==,i=1",
            "r=own1,s=eA==,i=9999999",
        ] {
            assert!(scram.answer(challenge.as_bytes(), &login.password).is_err(), "{challenge}");
        }
        assert!(scram.answer(b"r=own1,s=eA==,i=4096", &login.password).is_ok());
    }
}
