//! Tests of the plan for the pooler: what is said of it, and what stops the start.

use super::*;
use canter_base::options::{Inputs, resolve};
use std::ffi::OsString;

fn config(line: &str) -> Config {
    let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    let read_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
    let inputs = Inputs {
        args: &args,
        env: &[],
        read_file: &read_file,
        process_id: 1,
    };
    resolve(inputs).unwrap().config
}

const URL: &str = "--database-url postgresql://sh%20op:secret@db.example.com/my%2Fdb";

fn alone(line: &str) -> Result<Plan, Fault> {
    let config = config(line);
    Plan::alone(&config, &config.bind_postgres)
}

#[test]
fn the_app_gets_a_url_of_the_pool_without_a_password() {
    let plan = Plan::for_site(&config(URL), UrlFrom::Option)
        .unwrap()
        .unwrap();
    let url = plan.url().unwrap();
    let folder = plan.private_path().unwrap().parent().unwrap();
    let expected = format!("postgresql://sh%20op@/my/db?host={}", folder.display());
    assert_eq!(url, expected);
    assert!(folder.exists());
    let folder = folder.to_path_buf();
    drop(plan);
    assert!(!folder.exists());
}

#[test]
fn without_pool_and_door_there_is_nothing() {
    let off = config("--db-pool off");
    assert!(Plan::for_site(&off, UrlFrom::Option).unwrap().is_none());
}

#[test]
fn a_bad_url_of_the_platform_is_no_reason_not_to_serve() {
    let config = config("--database-url postgresql://u@h/d?sslmode=perhaps");
    assert!(Plan::for_site(&config, UrlFrom::Option).is_err());
    let plan = Plan::for_site(&config, UrlFrom::Platform).unwrap().unwrap();
    assert!(plan.url().is_none() && plan.private_path().is_some());
}

#[test]
fn what_is_missing_or_wrong_stops_the_start_in_words() {
    for (line, expected) in [
        ("--bind-postgres 127.0.0.1:0", "no database is named"),
        (
            "--bind-postgres 127.0.0.1:0 --database-url postgresql://u@h/d?sslmode=perhaps",
            "cannot use the database's URL",
        ),
        (
            "--database-url postgresql://u:p@h/d --db-tls-cert /x",
            "belong together",
        ),
    ] {
        let fault = alone(line).err().unwrap();
        assert!(fault.what.contains(expected), "{line}: {fault}");
    }
}

#[test]
fn a_taken_port_is_named_with_its_option() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let fault = alone(&format!("{URL} --bind-postgres {address}"))
        .err()
        .unwrap();
    assert_eq!(fault.exit, canter_base::Exit::Bind);
    assert!(fault.hint.unwrap().contains("--bind-postgres 127.0.0.1:"));
}

#[test]
fn the_example_leads_to_the_first_door() {
    let plan = alone(&format!("{URL} --bind-postgres 127.0.0.1:0")).unwrap();
    let door = plan.doors().next().unwrap().to_owned();
    let example = format!("psql postgresql://sh%20op@{door}/my/db");
    assert_eq!(plan.example(), Some(example));
    assert!(!plan.connections().contains("as set"));
}

#[test]
fn inherited_doors_are_taken_before_any_other_is_opened() {
    let inherited = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let number = u32::try_from(std::os::fd::IntoRawFd::into_raw_fd(inherited)).unwrap();
    let path = std::env::temp_dir().join(format!("canter-doors-{}", std::process::id()));
    let addresses = [Address::Unix(path), Address::Inherited(number)];
    let (doors, _files) = open(&addresses, &config(URL)).unwrap();
    let reaches: Vec<_> = doors.iter().map(|door| door.reach).collect();
    assert!(matches!(reaches[..], [Reach::Loopback, Reach::Unix]));
}
