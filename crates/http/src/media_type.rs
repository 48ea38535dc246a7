//! Content types by the name of a file: owns one fixed table, so that a site answers the same
//! wherever it runs. What a project says otherwise is left to whoever reads its settings.

/// What is said of a file that the table does not know (RFC 9110, section 8.3).
pub const UNKNOWN: &str = "application/octet-stream";

/// Extensions in lower case, sorted.
const TYPES: &[(&str, &str)] = &[
    ("3gp", "video/3gpp"),
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("apk", "application/vnd.android.package-archive"),
    ("apng", "image/apng"),
    ("appcache", "text/cache-manifest"),
    ("atom", "application/atom+xml"),
    ("avi", "video/x-msvideo"),
    ("avif", "image/avif"),
    ("bin", "application/octet-stream"),
    ("bmp", "image/bmp"),
    ("bz2", "application/x-bzip2"),
    ("cjs", "text/javascript"),
    ("conf", "text/plain"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("cur", "image/x-icon"),
    ("doc", "application/msword"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    ("eot", "application/vnd.ms-fontobject"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("geojson", "application/geo+json"),
    ("gif", "image/gif"),
    ("glb", "model/gltf-binary"),
    ("gltf", "model/gltf+json"),
    ("gpx", "application/gpx+xml"),
    ("gz", "application/gzip"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("ico", "image/x-icon"),
    ("ics", "text/calendar"),
    ("jar", "application/java-archive"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("jsonld", "application/ld+json"),
    ("jxl", "image/jxl"),
    ("kml", "application/vnd.google-earth.kml+xml"),
    ("kmz", "application/vnd.google-earth.kmz"),
    ("log", "text/plain"),
    ("m3u8", "application/vnd.apple.mpegurl"),
    ("m4a", "audio/mp4"),
    ("m4v", "video/mp4"),
    ("map", "application/json"),
    ("markdown", "text/markdown"),
    ("md", "text/markdown"),
    ("mid", "audio/midi"),
    ("midi", "audio/midi"),
    ("mjs", "text/javascript"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("mpd", "application/dash+xml"),
    ("mpeg", "video/mpeg"),
    ("mpg", "video/mpeg"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("oga", "audio/ogg"),
    ("ogg", "audio/ogg"),
    ("ogv", "video/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    ("ppt", "application/vnd.ms-powerpoint"),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
    ("rar", "application/vnd.rar"),
    ("rss", "application/rss+xml"),
    ("rtf", "application/rtf"),
    ("srt", "text/plain"),
    ("svg", "image/svg+xml"),
    ("svgz", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("ts", "video/mp2t"),
    ("tsv", "text/tab-separated-values"),
    ("ttc", "font/collection"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain"),
    ("vcf", "text/vcard"),
    ("vtt", "text/vtt"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("weba", "audio/webm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xhtml", "application/xhtml+xml"),
    ("xls", "application/vnd.ms-excel"),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    ("xml", "application/xml"),
    ("xsl", "application/xslt+xml"),
    ("yaml", "application/yaml"),
    ("yml", "application/yaml"),
    ("zip", "application/zip"),
    ("zst", "application/zstd"),
];

/// Whole names that mean something else than their extension.
const NAMES: &[(&str, &str)] = &[
    ("apple-app-site-association", "application/json"),
    ("crossdomain.xml", "application/xml"),
];

/// What stands behind the last dot of a file's name, in lower case; empty without one.
pub fn extension(name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or(name);
    match file.rsplit_once('.') {
        Some((before, extension)) if !before.is_empty() => extension.to_ascii_lowercase(),
        _ => String::new(),
    }
}

/// The type of a file with this name, without a charset.
pub fn media_type(name: &str) -> &'static str {
    let file = name.rsplit('/').next().unwrap_or(name);
    if let Some((_, kind)) = NAMES.iter().find(|(whole, _)| *whole == file) {
        return kind;
    }
    let extension = extension(name);
    TYPES
        .binary_search_by(|(known, _)| (*known).cmp(extension.as_str()))
        .ok()
        .and_then(|at| TYPES.get(at))
        .map_or(UNKNOWN, |(_, kind)| kind)
}

/// Whether content of this type is text that needs its charset named. JSON and XML carry their own
/// (RFC 8259, section 8.1; RFC 7303, section 3).
pub fn wants_charset(media_type: &str) -> bool {
    media_type.starts_with("text/") && !media_type.contains(';')
}

/// Whether content of this type gains by being compressed.
pub fn is_compressible(media_type: &str) -> bool {
    const EXACTLY: &[&str] = &[
        "application/manifest+json",
        "application/rtf",
        "application/vnd.apple.mpegurl",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/yaml",
        "font/otf",
        "font/ttf",
        "font/collection",
        "image/bmp",
        "image/x-icon",
        "model/gltf-binary",
    ];
    let kind = media_type.split(';').next().unwrap_or_default().trim();
    kind.starts_with("text/")
        || kind.ends_with("+xml")
        || kind.ends_with("+json")
        || matches!(kind, "application/json" | "application/xml")
        || EXACTLY.contains(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_in_lower_case() {
        for pair in TYPES.windows(2) {
            assert!(pair[0].0 < pair[1].0, "{pair:?}");
        }
        let lower = |text: &str| text.bytes().all(|byte| !byte.is_ascii_uppercase());
        assert!(
            TYPES
                .iter()
                .all(|(extension, kind)| lower(extension) && lower(kind))
        );
    }

    #[test]
    fn names_have_the_types_browsers_expect() {
        for (name, kind) in [
            ("a/site.css", "text/css"),
            ("SITE.CSS", "text/css"),
            ("app.1a2b.js", "text/javascript"),
            ("module.mjs", "text/javascript"),
            ("app.js.map", "application/json"),
            ("font.woff2", "font/woff2"),
            ("site.webmanifest", "application/manifest+json"),
            ("code.wasm", "application/wasm"),
            ("photo.avif", "image/avif"),
            ("photo.jxl", "image/jxl"),
            (".well-known/apple-app-site-association", "application/json"),
            ("archive.tar.gz", "application/gzip"),
            ("dir.css/noext", UNKNOWN),
            (".css", UNKNOWN),
            ("a.", UNKNOWN),
            ("", UNKNOWN),
        ] {
            assert_eq!(media_type(name), kind, "{name}");
        }
    }

    #[test]
    fn text_names_its_charset_and_gains_by_compression() {
        for (kind, charset, gains) in [
            ("text/css", true, true),
            ("text/javascript", true, true),
            ("application/json", false, true),
            ("image/svg+xml", false, true),
            ("application/manifest+json; x=y", false, true),
            ("text/html; charset=latin-1", false, true),
            ("image/png", false, false),
            ("font/woff2", false, false),
            ("video/mp4", false, false),
        ] {
            assert_eq!(
                (wants_charset(kind), is_compressible(kind)),
                (charset, gains),
                "{kind}"
            );
        }
    }
}
