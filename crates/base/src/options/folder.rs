//! Folders that options give an address. Owns the form `URL=DIR`; what is served from them is left to
//! the front.

use std::path::PathBuf;

use super::value::{Value, Wrong};

/// A folder and its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlFolder {
    /// With a slash at both ends.
    pub url: String,
    /// The folder.
    pub root: PathBuf,
}

impl Value for UrlFolder {
    const KIND: &'static str = "URL=DIR";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let wrong =
            || Wrong::expected("expected a path and a folder such as `/downloads/=/srv/downloads`");
        let (url, root) = text.split_once('=').ok_or_else(wrong)?;
        if root.is_empty() || text.contains(['\0', '\t', '\n']) {
            return Err(wrong());
        }
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"%?#\\".contains(&byte);
        if !url.starts_with('/') || !url.bytes().all(plain) || url.contains("//") {
            return Err(wrong().hint("the path begins with `/` and is written as people see it"));
        }
        let slash = if url.ends_with('/') { "" } else { "/" };
        Ok(Self {
            url: format!("{url}{slash}"),
            root: PathBuf::from(root),
        })
    }

    fn show(&self) -> String {
        format!("{}={}", self.url, self.root.display())
    }
}

/// Files that users have sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// Where Django's settings say.
    Django,
    /// Here.
    Folder(UrlFolder),
}

impl Value for Media {
    const KIND: &'static str = "URL=DIR";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text == "auto" {
            return Ok(Self::Django);
        }
        UrlFolder::parse(text).map(Self::Folder)
    }

    fn show(&self) -> String {
        match self {
            Self::Django => "auto".to_owned(),
            Self::Folder(folder) => folder.show(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_an_address_with_a_slash_at_both_ends() {
        for (text, shown) in [
            ("/files=/srv/a=b", "/files/=/srv/a=b"),
            ("/=public", "/=public"),
        ] {
            let folder = UrlFolder::parse(text).unwrap();
            assert_eq!(folder.show(), shown);
            assert_eq!(UrlFolder::parse(shown), Ok(folder));
        }
        for bad in [
            "",
            "/a",
            "/a=",
            "a=b",
            "/a%20b=/x",
            "//a=/x",
            "/a?b=/x",
            "/a=/x\ty",
        ] {
            assert!(UrlFolder::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Media::parse("auto"), Ok(Media::Django));
        assert!(Media::parse("on").is_err());
    }
}
