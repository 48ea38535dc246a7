//! One file for each command of `canter`.

pub mod bench;
pub mod compress;
pub mod doctor;
pub mod findings;
pub mod insight;
pub mod options;
pub mod pool;
pub mod profile;
pub mod purge;
pub mod selftest;
pub mod serve;
pub mod top;
pub mod tune;
pub mod which;

pub use serve::sockets;

/// The value of an option, for people to read and to write.
fn text(command: &str, parser: &mut lexopt::Parser) -> Result<String, canter_base::Fault> {
    let value = parser.value();
    let value = value.map_err(|error| canter_base::flags::misread(command, &error))?;
    Ok(value.to_string_lossy().into_owned())
}
