//! One encoded form of one file: owns making it, and putting it in its place so that nobody ever sees
//! half of it. Leaves which files to the command.

use std::ffi::OsString;
use std::fs::{self, File, FileTimes};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::SystemTime;

use canter_http::coding::Coding;

/// Of a hundred bytes, at most so many may be left for it to be worth a second file.
const WORTH: u64 = 95;

/// The slowest levels: it is done once for a file that is sent often.
const ZSTD_LEVEL: i32 = 19;
const BROTLI_QUALITY: i32 = 11;
const BROTLI_WINDOW: i32 = 22;

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is there now, in so many bytes.
    Made(u64),
    /// It was there, as old as its source.
    Current,
    /// It would be hardly shorter.
    Useless,
}

/// Makes the form of `path` beside it, as old as `path` itself.
pub fn encode(path: &Path, coding: Coding, force: bool) -> io::Result<Outcome> {
    let file = File::open(path)?;
    let (length, modified) = state(&file)?;
    let beside = with(path, coding.extension());
    let there = fs::metadata(&beside).and_then(|found| found.modified());
    if !force && there.is_ok_and(|there| there == modified) {
        return Ok(Outcome::Current);
    }
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    io::Read::read_to_end(&mut &file, &mut content)?;
    let encoded = compress(&content, coding)?;
    if encoded.len() as u64 * 100 > content.len() as u64 * WORTH {
        // What may lie there is of another version.
        return match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(Outcome::Useless),
        };
    }
    // It may have been written anew meanwhile: then the form would be of the version before.
    if state(&File::open(path)?)? != (length, modified) || content.len() as u64 != length {
        return Err(io::Error::other("it changed while it was read"));
    }
    let draft = with(&beside, &format!(".canter-{}", std::process::id()));
    let written =
        write(&draft, &encoded, &file, modified).and_then(|()| fs::rename(&draft, &beside));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written.map(|()| Outcome::Made(encoded.len() as u64))
}

fn state(file: &File) -> io::Result<(u64, SystemTime)> {
    let found = file.metadata()?;
    Ok((found.len(), found.modified()?))
}

fn with(path: &Path, extension: &str) -> std::path::PathBuf {
    let mut name = OsString::from(path);
    name.push(extension);
    name.into()
}

fn write(draft: &Path, bytes: &[u8], source: &File, modified: SystemTime) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(draft)?;
    file.write_all(bytes)?;
    file.set_permissions(source.metadata()?.permissions())?;
    file.set_times(FileTimes::new().set_modified(modified))
}

fn compress(content: &[u8], coding: Coding) -> io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(content.len() / 3);
    match coding {
        Coding::Identity => out.extend_from_slice(content),
        Coding::Gzip => {
            let level = flate2::Compression::best();
            // No name and no time in it: the same content gives the same bytes.
            let mut encoder = flate2::GzBuilder::new().write(out, level);
            encoder.write_all(content)?;
            out = encoder.finish()?;
        }
        Coding::Brotli => {
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: BROTLI_WINDOW,
                size_hint: content.len(),
                ..Default::default()
            };
            brotli::BrotliCompress(&mut &content[..], &mut out, &parameters)?;
        }
        Coding::Zstd => {
            let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
            // Browsers refuse larger windows (RFC 9659).
            encoder.window_log(23)?;
            encoder.include_checksum(false)?;
            encoder.set_pledged_src_size(Some(content.len() as u64))?;
            encoder.write_all(content)?;
            out = encoder.finish()?;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_undone_to_the_content() {
        let content: Vec<u8> = (0..50_000_u32)
            .flat_map(|number| (number / 7).to_be_bytes())
            .collect();
        let undone = |coding| {
            let encoded = compress(&content, coding).unwrap();
            assert!(encoded.len() * 2 < content.len(), "{coding:?}");
            let mut out = Vec::new();
            match coding {
                Coding::Identity => out = encoded,
                Coding::Gzip => {
                    let mut decoder = flate2::read::GzDecoder::new(&encoded[..]);
                    io::Read::read_to_end(&mut decoder, &mut out).unwrap();
                }
                Coding::Brotli => {
                    brotli::BrotliDecompress(&mut &encoded[..], &mut out).unwrap();
                }
                Coding::Zstd => out = zstd::decode_all(&encoded[..]).unwrap(),
            }
            out
        };
        for coding in Coding::ENCODED {
            assert!(undone(coding) == content, "{coding:?}");
        }
    }

    #[test]
    fn what_does_not_gain_is_not_kept_and_an_old_form_goes() {
        let path = std::env::temp_dir().join(format!("canter-noise-{}", std::process::id()));
        let mut random = 7_u64;
        let noise: Vec<u8> = (0..1000)
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (random >> 56) as u8
            })
            .collect();
        fs::write(&path, noise).unwrap();
        fs::write(with(&path, ".gz"), "old").unwrap();
        assert_eq!(encode(&path, Coding::Gzip, true).unwrap(), Outcome::Useless);
        assert!(!with(&path, ".gz").exists());
        fs::remove_file(&path).unwrap();
    }
}
