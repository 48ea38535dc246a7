//! Owns which folders the front serves: those of the options at once, those of Django's settings when
//! the app has been imported. Leaves serving them to `canter_files`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use canter_base::error;
use canter_base::options::{Config, Media, Static, UrlFolder};
use canter_files::{Files, Folder, Kind, Pointers, Site};
use canter_front::Pages;

/// As the options say.
pub fn of(config: &Config) -> Files {
    let map = config.static_map.iter();
    let mut folders: Vec<Folder> = map.map(|given| folder(given, Kind::Folder)).collect();
    folders.extend(config.media.iter().filter_map(|media| match media {
        Media::Folder(given) => Some(folder(given, Kind::Media)),
        Media::Django => None,
    }));
    let internal = config.internal.iter();
    let pointers = Pointers {
        roots: config
            .sendfile_root
            .iter()
            .map(|root| absolute(root))
            .collect(),
        internal: internal.map(|given| folder(given, Kind::Folder)).collect(),
    };
    let waits = config.static_ == Static::Auto || config.media.contains(&Media::Django);
    Files::new(folders, pointers, waits)
}

/// What the settings of the app say has come.
pub fn told(files: &Files, pages: &Pages, fds: Vec<OwnedFd>) {
    let Some(fd) = fds.into_iter().next() else {
        return;
    };
    match read(&File::from(fd)) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            pages.set_site(&text);
            files.set_site(Site::read(&text));
        }
        Err(error) => error!(
            "what Django says of static files cannot be read",
            reason = &error.to_string()
        ),
    }
}

/// From its beginning: the supervisor's position in it is that of its end.
fn read(file: &File) -> std::io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut text, 0)?;
    Ok(text)
}

fn folder(given: &UrlFolder, kind: Kind) -> Folder {
    Folder {
        url: given.url.clone(),
        root: absolute(&given.root),
        kind,
    }
}

fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
