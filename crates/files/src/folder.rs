//! A folder with files for visitors, and what it is there for.

use std::path::PathBuf;

/// What a folder is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Static files of the site. What is not there is the app's.
    Static,
    /// Files at the root of the site, among its pages.
    Root,
    /// A folder that an option names. What is not there is not found.
    Folder,
    /// Files that users have sent: they may not act for the site.
    Media,
}

/// A folder and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// With a slash at both ends.
    pub url: String,
    /// The folder.
    pub root: PathBuf,
    /// What it is there for.
    pub kind: Kind,
}
