//! Connection strings as libpq reads them: what is understood, and what is refused in which words.

use super::*;

fn of(text: &str) -> Target {
    Target::from_text(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    Target::from_text(text).expect_err(text).to_string()
}

fn name(host: &str, port: u16) -> Host {
    Host {
        addr: Addr::Name(host.to_owned()),
        port,
    }
}

fn unix(folder: &str, port: u16) -> Host {
    Host {
        addr: Addr::Unix(folder.into()),
        port,
    }
}

/// URL, user, password, database, hosts.
type Row<'a> = (&'a str, &'a str, Option<&'a str>, &'a str, Vec<Host>);

#[test]
fn a9_urls_are_read_as_libpq_reads_them() {
    let v6 = |ip: &str, port| Host {
        addr: Addr::Ip(ip.parse().unwrap(), None),
        port,
    };
    let rows: [Row<'_>; 14] = [
        ("postgresql://u@h", "u", None, "u", vec![name("h", 5432)]),
        (
            "postgres://u:p@h:6000/d",
            "u",
            Some("p"),
            "d",
            vec![name("h", 6000)],
        ),
        (
            "PostGIS://u:p@h/d",
            "u",
            Some("p"),
            "d",
            vec![name("h", 5432)],
        ),
        ("pgsql://u@h/d?", "u", None, "d", vec![name("h", 5432)]),
        (
            "psql://u%40x:p%3A%2F%23%25@h/d%20e",
            "u@x",
            Some("p:/#%"),
            "d e",
            vec![name("h", 5432)],
        ),
        (
            "postgres://u:p@ss:w@h/d",
            "u",
            Some("p@ss:w"),
            "d",
            vec![name("h", 5432)],
        ),
        (
            "postgres://u:a+b@h/d",
            "u",
            Some("a+b"),
            "d",
            vec![name("h", 5432)],
        ),
        (
            "postgres://u:#x@h/d",
            "u",
            Some("#x"),
            "d",
            vec![name("h", 5432)],
        ),
        (
            "postgres://u@a:1,b,c:3/d",
            "u",
            None,
            "d",
            vec![name("a", 1), name("b", 5432), name("c", 3)],
        ),
        (
            "postgres://u@[::1]:7,[fe80::2]/d",
            "u",
            None,
            "d",
            vec![v6("::1", 7), v6("fe80::2", 5432)],
        ),
        (
            "postgres://u@%2Fvar%2Flib%2Fpg:6000/d",
            "u",
            None,
            "d",
            vec![unix("/var/lib/pg", 6000)],
        ),
        (
            "postgres:///d?host=/tmp&port=7&user=u",
            "u",
            None,
            "d",
            vec![unix("/tmp", 7)],
        ),
        (
            "postgres://u@ignored/d?host=h&port=1",
            "u",
            None,
            "d",
            vec![name("h", 1)],
        ),
        (
            "postgres://u@/d",
            "u",
            None,
            "d",
            vec![unix("/var/run/postgresql", 5432)],
        ),
    ];
    for (url, user, password, dbname, hosts) in rows {
        let target = of(url);
        assert_eq!(target.user, user, "{url}");
        assert_eq!(target.password, password.map(Secret::new), "{url}");
        assert_eq!(target.dbname, dbname, "{url}");
        assert_eq!(target.hosts, hosts, "{url}");
    }
}

#[test]
fn a9_connection_strings_are_read_as_libpq_reads_them() {
    let rows: [(&str, &str, &str); 7] = [
        ("host=h user=u password=p dbname=d", "p", "d"),
        ("host = h user= u password ='p' dbname= 'd e'", "p", "d e"),
        (
            r"host=h user=u password=a\ b\'c\\d dbname=d",
            r"a b'c\d",
            "d",
        ),
        (
            r"host=h user=u password='a b\'c\\d' dbname=d",
            r"a b'c\d",
            "d",
        ),
        ("host=h user=u password=a=b dbname=d", "a=b", "d"),
        ("  host=h\tuser=u\npassword=p dbname=x dbname=d  ", "p", "d"),
        ("host=h user=u password='p'dbname=d", "p", "d"),
    ];
    for (text, password, dbname) in rows {
        let target = of(text);
        assert_eq!(target.password, Some(Secret::new(password)), "{text}");
        assert_eq!(target.dbname, dbname, "{text}");
        assert_eq!(target.hosts, [name("h", 5432)], "{text}");
    }
    let target = of("user=u dbname=''  password=''");
    assert_eq!((target.dbname.as_str(), target.password), ("u", None));
}

#[test]
fn a9_hosts_addresses_and_ports_belong_together() {
    let ip = |ip: &str, name: Option<&str>, port| Host {
        addr: Addr::Ip(ip.parse().unwrap(), name.map(str::to_owned)),
        port,
    };
    let rows: [(&str, Vec<Host>); 6] = [
        ("host=a,b port=1,2", vec![name("a", 1), name("b", 2)]),
        ("host=a,b port=1", vec![name("a", 1), name("b", 1)]),
        ("host=a,b port=1,", vec![name("a", 1), name("b", 5432)]),
        (
            "host=a hostaddr=10.0.0.1",
            vec![ip("10.0.0.1", Some("a"), 5432)],
        ),
        (
            "host=10.0.0.1,/tmp,@x",
            vec![
                ip("10.0.0.1", None, 5432),
                unix("/tmp", 5432),
                unix("@x", 5432),
            ],
        ),
        (
            "hostaddr=::1,10.0.0.1",
            vec![ip("::1", None, 5432), ip("10.0.0.1", None, 5432)],
        ),
    ];
    for (text, hosts) in rows {
        assert_eq!(of(&format!("user=u {text}")).hosts, hosts, "{text}");
    }
    assert_eq!(
        unix("/tmp", 6000).socket_path(),
        Some("/tmp/.s.PGSQL.6000".into()),
        "as every PostgreSQL names it"
    );
}

#[test]
fn a9_what_bears_on_security_is_understood() {
    let tls = |text: &str| of(&format!("user=u host=h {text}")).tls;
    assert_eq!(tls("").mode, TlsMode::Prefer);
    for (word, mode) in [
        ("disable", TlsMode::Disable),
        ("allow", TlsMode::Allow),
        ("require", TlsMode::Require),
        ("verify-ca", TlsMode::VerifyCa),
        ("verify-full", TlsMode::VerifyFull),
    ] {
        assert_eq!(tls(&format!("sslmode={word}")).mode, mode);
    }
    assert_eq!(of("postgres://u@h/d?ssl=true").tls.mode, TlsMode::Require);
    let system = tls("sslrootcert=system");
    assert_eq!(
        (system.mode, system.roots),
        (TlsMode::VerifyFull, Roots::System)
    );
    let all = tls(
        "sslmode=verify-ca sslrootcert=/r sslcert=/c sslkey=/k sslcrl=/l sslsni=0 \
         sslnegotiation=direct ssl_min_protocol_version=TLSv1.3 channel_binding=require",
    );
    assert_eq!(
        all,
        Tls {
            mode: TlsMode::VerifyCa,
            negotiation: Negotiation::Direct,
            roots: Roots::File("/r".into()),
            crl: Some("/l".into()),
            cert: Some("/c".into()),
            key: Some("/k".into()),
            no_sni: true,
            only_tls13: true,
            only_tls12: false,
            channel_binding: ChannelBinding::Require,
        }
    );
    assert!(tls("ssl_max_protocol_version=TLSv1.2").only_tls12);
    assert_eq!(tls("sslcertmode=disable sslcert=/c").cert, None);
    let auth = |list: &str| of(&format!("user=u require_auth={list}")).auth;
    assert!(auth("scram-sha-256").allows(AllowedAuth::SCRAM));
    assert!(!auth("scram-sha-256").allows(AllowedAuth::PASSWORD | AllowedAuth::MD5));
    assert!(!auth("!password,!md5").allows(AllowedAuth::PASSWORD | AllowedAuth::MD5));
    assert!(auth("!password,!md5").allows(AllowedAuth::NONE));
}

#[test]
fn a9_the_rest_of_the_keywords_reaches_the_target() {
    let target = of(
        "host=h user=u connect_timeout=7 keepalives_idle=1 keepalives_interval=2 \
         keepalives_count=3 tcp_user_timeout=4500 target_session_attrs=read-write \
         load_balance_hosts=random application_name=app passfile=/p client_encoding=auto \
         options='-c search_path=a,b --statement-timeout=5s' gssencmode=disable krbsrvname=x",
    );
    assert_eq!(target.connect_timeout, Some(Duration::from_secs(7)));
    assert_eq!(
        target.tcp,
        TcpOptions {
            keepalive: true,
            idle: Some(Duration::from_secs(1)),
            interval: Some(Duration::from_secs(2)),
            count: Some(3),
            user_timeout: Some(Duration::from_millis(4500)),
        }
    );
    assert_eq!(target.target_session_attrs, SessionAttrs::ReadWrite);
    assert!(target.shuffle_hosts);
    assert_eq!(target.passfile, Some("/p".into()));
    let params: Vec<_> = target
        .params
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        params,
        [
            ("search_path", "a,b"),
            ("statement_timeout", "5s"),
            ("application_name", "app")
        ]
    );
    assert_eq!(
        of("user=u connect_timeout=0 keepalives=0").connect_timeout,
        None
    );
    let schema = of("postgres://u@h/d?currentSchema=my%20schema").params;
    assert_eq!(schema, [("search_path".to_owned(), "my schema".to_owned())]);
}

#[test]
fn a9_what_cannot_be_done_is_refused_in_words_that_say_what_to_do() {
    let rows = [
        ("mysql://u@h/d", "postgresql://"),
        ("postgres://u@h/d?sslmod=require", "did you mean sslmode?"),
        ("postgres://u@h/d?pgbouncer=true", "take it out"),
        ("postgres://u@h/d?sslmode", "keyword=value"),
        ("postgres://u:p%zz@h/d", "%25"),
        ("postgres://u:p%00@h/d", "%00"),
        ("postgres://u:%ff@h/d", "UTF-8"),
        ("postgres://u:pa/ss@h/d", "percent-encoded"),
        ("postgres://u@[::1/d", "]"),
        ("postgres://u@[::1]x/d", "]"),
        ("host=h dbname=d", "no user"),
        ("user=u host", "\"=\""),
        ("user=u password='a", "closing"),
        ("user=u port=0", "1 to 65535"),
        ("user=u port=65536", "1 to 65535"),
        ("user=u host=a,b port=1,2,3", "one for each"),
        ("user=u host=a,b hostaddr=1.2.3.4", "as many"),
        ("user=u hostaddr=name", "IP address"),
        ("user=u sslmode=on", "verify-full"),
        ("user=u sslrootcert=system sslmode=require", "verify-full"),
        ("user=u sslnegotiation=direct", "sslmode=require"),
        ("user=u sslpassword=x", "openssl pkey"),
        ("user=u sslcrldir=/x", "sslcrl"),
        ("user=u sslkeylogfile=/x", "take it out"),
        ("user=u sslcertmode=require", "hostssl"),
        ("user=u requirepeer=postgres", "socket folder"),
        ("user=u gssencmode=require", "verify-full"),
        ("user=u replication=database", "directly"),
        ("user=u service=x", "pg_service.conf"),
        ("user=u min_protocol_version=3.2", "3.0"),
        ("user=u ssl_max_protocol_version=TLSv1.1", "TLSv1.2"),
        (
            "user=u ssl_max_protocol_version=TLSv1.2 ssl_min_protocol_version=TLSv1.3",
            "no version",
        ),
        ("user=u require_auth=gss", "scram-sha-256"),
        ("user=u require_auth=md5,!password", "one or the other"),
        ("user=u require_auth=secret", "list of"),
        (
            "user=u channel_binding=require sslmode=disable",
            "needs TLS",
        ),
        ("user=u connect_timeout=soon", "whole number"),
        ("user=u keepalives=yes", "0 or 1"),
        ("user=u options='-x'", "-c name=value"),
        ("user=u oauth_issuer=x", "password"),
        ("user=u scram_client_key=x", "need each other"),
        ("user=u scram_client_key=x scram_server_key=x", "32 bytes"),
    ];
    for (text, part) in rows {
        let sentence = refused(text);
        assert!(sentence.contains(part), "{text}: {sentence}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let target = of("postgres://u:hunter2@h/d?sslcert=/c");
    assert!(!format!("{target:?} {target:#?} {}", target.describe()).contains("hunter2"));
    for text in [
        "postgres://u:hunter2/x@h/d",
        "postgres://u:hunter2%@h/d",
        "user=u password=hunter2 hunter2",
        "user=u password='hunter2",
        "hunter2://u@h",
    ] {
        assert!(!refused(text).contains("hunter2"), "{text}");
    }
}

#[test]
fn an_id_tells_targets_apart_and_nothing_else() {
    let id = |text| of(text).id();
    let same = id("postgres://u:p@h/d");
    assert_eq!(same, id("host=h user=u password=p dbname=d"));
    assert_eq!(same.to_string().parse(), Ok(same));
    assert_eq!(same.to_string().len(), 32);
    for other in [
        "postgres://u:q@h/d",
        "postgres://u@h/d",
        "postgres://u:p@h/e",
        "postgres://u:p@i/d",
        "postgres://u:p@h:1/d",
        "postgres://u:p@h/d?sslmode=require",
        "postgres://u:p@h/d?application_name=x",
    ] {
        assert_ne!(same, id(other), "{other}");
    }
    for wrong in [
        "",
        "x",
        "+0000000000000000000000000000000",
        "zz000000000000000000000000000000",
    ] {
        assert!(wrong.parse::<TargetId>().is_err(), "{wrong}");
    }
}

#[test]
fn i4_no_text_upsets_the_parser() {
    let seeds = [
        "postgres://u:p%40@a:1,[::1]:2/d?sslmode=require&host=/tmp",
        r"host='a b' user=u password=p\'x port=1 options='-c a=b'",
    ];
    for seed in seeds {
        for at in 0..=seed.len() {
            let _ = Target::from_text(&seed[..at]);
            for insert in ["%", "'", "\\", "=", "@", "[", ",", "\u{e9}", "\0", "?", "&"] {
                let _ = Target::from_text(&format!("{}{insert}{}", &seed[..at], &seed[at..]));
            }
        }
    }
}

#[test]
fn a_hash_comes_beside_the_keys_of_the_own_user_and_brings_none_to_another() {
    let key = format!("{}=", "A".repeat(43));
    let place = of(&format!(
        "user=site dbname=d scram_client_key={key} scram_server_key={key}"
    ));
    assert!(place.scram_keys.is_some());
    let hash = Credential::Md5(Secret::new("md5".to_owned() + &"0".repeat(32)));
    let own = place.for_user("site", Some(&hash));
    assert!(own.scram_keys == place.scram_keys && own.md5.is_some());
    let other = place.for_user("else", Some(&hash));
    assert!(other.scram_keys.is_none() && other.md5.is_some());
}
