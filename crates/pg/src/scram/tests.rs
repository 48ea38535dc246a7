//! SCRAM against the RFCs' examples, against itself and against rust-postgres.

use std::num::NonZeroU32;
use std::sync::OnceLock;

use postgres_protocol::authentication::sasl;

use super::client::{Binding, Client};
use super::server::{Channel, Server};
use super::*;

const NO_CHANNEL: Channel<'_> = Channel {
    plus: false,
    end_point: None,
};

fn iterations(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn pencil() -> (Verifier, Keys) {
    static PENCIL: OnceLock<(Verifier, Keys)> = OnceLock::new();
    PENCIL.get_or_init(derive).clone()
}

fn derive() -> (Verifier, Keys) {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = Keys::derive(b"pencil", &salt, iterations(4096));
    let verifier = Verifier {
        iterations: 4096,
        salt,
        stored: sha256(&keys.client),
        server: keys.server,
    };
    (verifier, keys)
}

#[test]
fn a8_the_server_reproduces_the_example_of_rfc_7677() {
    let (verifier, keys) = pencil();
    let (server, first) = Server::start_with(
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        verifier,
        NO_CHANNEL,
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
    )
    .unwrap();
    assert_eq!(
        first,
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let (last, found) = server
        .finish(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        .unwrap();
    assert_eq!(last, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(
        found, keys,
        "the ClientKey is kept for logging in to the database"
    );
}

#[test]
fn a9_the_client_proves_the_password_and_learns_that_the_server_knew_it() {
    let (verifier, keys) = pencil();
    for (binding, end_point) in [
        (Binding::None, None),
        (Binding::ServerLacks, None),
        (Binding::EndPoint(b"hash".to_vec()), Some(&b"hash"[..])),
    ] {
        let channel = Channel {
            plus: end_point.is_some(),
            end_point,
        };
        let client = Client::new(binding).unwrap();
        let (server, first) =
            Server::start(client.first().as_bytes(), verifier.clone(), channel).unwrap();
        let challenge = client.challenge(first.as_bytes()).unwrap();
        assert_eq!(challenge.iterations, iterations(4096));
        let (last, expected) = client.last(&challenge, &keys);
        let (signature, _) = server.finish(last.as_bytes()).unwrap();
        expected.check(signature.as_bytes()).unwrap();
        let other = BASE64.encode([7; 32]);
        assert_eq!(
            expected.check(format!("v={other}").as_bytes()),
            Err(ScramError::WrongProof)
        );
        assert_eq!(expected.check(b"e=invalid-proof"), Err(ScramError::Refused));
    }
}

#[test]
fn a9_the_clients_messages_are_those_of_rfc_7677() {
    let (_, keys) = pencil();
    let client = Client::with_nonce(Binding::None, "rOprNGfwEbeRWgbNEkqO");
    let challenge = client
        .challenge(
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        )
        .unwrap();
    let (last, _) = client.last(&challenge, &keys);
    // The RFC's client names its user in the message, ours does not: the proof alone differs.
    assert!(last.starts_with("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p="));
}

#[test]
fn a8_the_client_of_rust_postgres_gets_in_and_only_with_the_password() {
    let rows: [(&[u8], &[u8], bool); 5] = [
        (b"secret", b"secret", true),
        (b"secret", b"Secret", false),
        (
            "gar\u{e7}on\u{a0}\u{2168}".as_bytes(),
            "gar\u{e7}on IX".as_bytes(),
            true,
        ),
        (b"\xff\xfe", b"\xff\xfe", true),
        (b"", b"x", false),
    ];
    for (known, used, fits) in rows {
        for end_point in [None, Some(&b"certificate hash"[..])] {
            let binding = end_point.map_or_else(sasl::ChannelBinding::unsupported, |hash| {
                sasl::ChannelBinding::tls_server_end_point(hash.to_vec())
            });
            let mut client = sasl::ScramSha256::new(used, binding);
            let verifier = Verifier::from_password(known).unwrap();
            let channel = Channel {
                plus: end_point.is_some(),
                end_point,
            };
            let (server, first) = Server::start(client.message(), verifier, channel).unwrap();
            client.update(first.as_bytes()).unwrap();
            match server.finish(client.message()) {
                Ok((last, _)) => {
                    assert!(fits);
                    client.finish(last.as_bytes()).unwrap();
                }
                Err(error) => {
                    assert!(!fits);
                    assert_eq!(error, ScramError::WrongProof);
                }
            }
        }
    }
}

#[test]
fn a8_a_verifier_is_read_in_the_notation_of_postgresql() {
    let text = postgres_protocol::password::scram_sha_256(b"secret");
    let verifier = Verifier::parse(&text).unwrap();
    let keys = Keys::derive(b"secret", &verifier.salt, iterations(verifier.iterations));
    assert_eq!(sha256(&keys.client), verifier.stored);
    assert_eq!(keys.server, verifier.server);
    let wrong = [
        "",
        "md5abc",
        "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
        &text.replace("4096", "0"),
        &text.replace("4096", "99999999"),
        &text.replace("4096", "-1"),
        &text.replace('$', ":"),
        text.get(..text.len() - 2).unwrap(),
    ];
    for text in wrong {
        assert_eq!(Verifier::parse(text), None, "{text}");
    }
}

#[test]
fn a8_an_unknown_user_meets_the_same_challenge_each_time_and_never_passes() {
    let mock = |user| Verifier::mock(b"secret of this door", user);
    assert_eq!(mock("a"), mock("a"));
    assert_ne!(mock("a").salt, mock("b").salt);
    assert_eq!(mock("a").salt.len(), 16);
    assert_eq!(mock("a").iterations, DEFAULT_ITERATIONS);
    let (_, keys) = pencil();
    let client = Client::new(Binding::None).unwrap();
    let (server, first) = Server::start(client.first().as_bytes(), mock("a"), NO_CHANNEL).unwrap();
    let challenge = client.challenge(first.as_bytes()).unwrap();
    let (last, _) = client.last(&challenge, &keys);
    assert_eq!(
        server.finish(last.as_bytes()).unwrap_err(),
        ScramError::WrongProof
    );
}

#[test]
fn a8_iterations_of_a_server_are_bounded() {
    let client = Client::with_nonce(Binding::None, "abc");
    for (count, answer) in [
        ("0", Err(ScramError::Iterations(0))),
        ("1", Ok(1)),
        ("100000", Ok(100_000)),
        ("100001", Err(ScramError::Iterations(100_001))),
        ("4294967297", Err(ScramError::Iterations(u32::MAX))),
        (
            "-1",
            Err(ScramError::Malformed("the number of iterations is none")),
        ),
        (
            "",
            Err(ScramError::Malformed("the number of iterations is none")),
        ),
    ] {
        let found = client.challenge(format!("r=abcdef,s=AAAA,i={count}").as_bytes());
        assert_eq!(
            found.map(|challenge| challenge.iterations.get()),
            answer,
            "{count}"
        );
    }
}

/// The first message, whether it came by -PLUS, and the door's certificate.
type Row<'a> = (&'a [u8], bool, Option<&'a [u8]>);

#[test]
fn a8_somebody_in_the_middle_is_noticed_by_the_channel_binding() {
    let (verifier, keys) = pencil();
    let offered = Some(&b"ours"[..]);
    let rows: [Row<'_>; 5] = [
        (b"y,,n=,r=abc", false, offered),
        (b"p=tls-server-end-point,,n=,r=abc", false, offered),
        (b"n,,n=,r=abc", true, offered),
        (b"p=tls-unique,,n=,r=abc", true, offered),
        (b"p=tls-server-end-point,,n=,r=abc", true, None),
    ];
    for (first, plus, end_point) in rows {
        let started = Server::start(first, verifier.clone(), Channel { plus, end_point });
        assert!(matches!(started, Err(ScramError::Binding(_))), "{first:?}");
    }
    let client = Client::new(Binding::EndPoint(b"theirs".to_vec())).unwrap();
    let channel = Channel {
        plus: true,
        end_point: offered,
    };
    let (server, first) = Server::start(client.first().as_bytes(), verifier, channel).unwrap();
    let challenge = client.challenge(first.as_bytes()).unwrap();
    let (last, _) = client.last(&challenge, &keys);
    let found = server.finish(last.as_bytes()).unwrap_err();
    assert!(matches!(found, ScramError::Binding(_)), "{found}");
}

/// Whatever the bytes are, both sides answer with an error or go on.
fn check(bytes: &[u8]) {
    let (verifier, keys) = pencil();
    for channel in [
        NO_CHANNEL,
        Channel {
            plus: true,
            end_point: Some(b"x"),
        },
    ] {
        if let Ok((server, _)) = Server::start_with(bytes, verifier.clone(), channel, "zzz") {
            let _ = server.finish(bytes);
        }
        let (server, _) = Server::start_with(
            if channel.plus {
                b"p=tls-server-end-point,,n=,r=abc"
            } else {
                b"n,,n=,r=abc"
            },
            verifier.clone(),
            channel,
            "zzz",
        )
        .unwrap();
        assert!(server.finish(bytes).is_err());
    }
    let client = Client::with_nonce(Binding::None, "abc");
    if let Ok(challenge) = client.challenge(bytes) {
        let (_, expected) = client.last(&challenge, &keys);
        assert!(expected.check(bytes).is_err());
    }
    let _ = std::str::from_utf8(bytes).map(Verifier::parse);
}

#[test]
fn i4_no_bytes_upset_either_side() {
    let seeds: [&[u8]; 6] = [
        b"n,,n=,r=abc",
        b"p=tls-server-end-point,,n=,r=abc,x=y",
        b"c=biws,r=abczzz,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"r=abcdef,s=AAAA,i=4096",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        b"SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
    ];
    for seed in seeds {
        for at in 0..seed.len() {
            check(&seed[..at]);
            for byte in [0, b',', b'=', b'A', 0xff] {
                let mut changed = seed.to_vec();
                changed[at] = byte;
                check(&changed);
            }
        }
        check(&seed.repeat(1000));
    }
}
