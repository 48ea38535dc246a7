//! The tier on disk: owns that it survives a restart, stays within its bound, and takes no file for
//! an entry that is none.
#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at what it did not expect"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use canter_cache::disk::{Disk, Done, Job};
use canter_cache::store::Several;
use canter_cache::{Purge, Time, tags};
use canter_http::check::Xorshift;
use common::{Case, NOW};

/// A folder that goes away with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("canter-cache-{name}-{id}"));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(path: &str) -> Case<'_> {
    Case {
        path,
        response: &[("Cache-Control", "max-age=60"), ("Surrogate-Key", "all")],
        ..Case::default()
    }
}

fn keep(disk: &mut Disk, case: &Case<'_>, body: &str) {
    let (entry, life) = case.entry(body);
    disk.run(Job::Keep(Arc::new(entry), life, 0), NOW);
}

fn load(disk: &mut Disk, case: &Case<'_>, now: Time) -> Vec<String> {
    let Done::Loaded(found) = disk.run(Job::Load(case.key()), now) else {
        panic!("another answer");
    };
    let text = |stored: &canter_cache::wire::Stored| {
        String::from_utf8(stored.entry.body().to_vec()).unwrap()
    };
    let mut found: Vec<String> = found.iter().map(text).collect();
    found.sort();
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let shelves = fs::read_dir(folder).unwrap().flatten();
    let files = shelves.flat_map(|shelf| fs::read_dir(shelf.path()).unwrap().flatten());
    files.map(|file| file.path()).collect()
}

#[test]
fn entries_survive_a_restart_with_all_their_variants() {
    let folder = Folder::new("restart");
    let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
    let varied = |value: &'static [(&'static str, &'static str)]| Case {
        request: value,
        response: &[("Cache-Control", "max-age=60"), ("Vary", "Foo")],
        ..Case::default()
    };
    keep(&mut disk, &at("/a"), "a");
    keep(&mut disk, &at("/a"), "b");
    keep(&mut disk, &varied(&[("Foo", "1")]), "one");
    keep(&mut disk, &varied(&[("Foo", "2")]), "two");
    let (count, bytes) = (disk.len(), disk.bytes());
    drop(disk);
    let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
    assert_eq!((disk.len(), disk.bytes()), (count, bytes));
    assert_eq!(load(&mut disk, &at("/a"), NOW), ["b"]);
    assert_eq!(load(&mut disk, &varied(&[]), NOW), ["one", "two"]);
    assert!(load(&mut disk, &at("/b"), NOW).is_empty());
    // When nothing can be done with it any more, it goes.
    let late = NOW.plus_seconds(60 + 86_400 + 1);
    assert!(load(&mut disk, &at("/a"), late).is_empty());
    assert_eq!(disk.len(), count - 1);
}

#[test]
fn corrupt_files_are_ignored_and_removed() {
    let folder = Folder::new("corrupt");
    let damages: [fn(&Path); 5] = [
        |path| fs::write(path, b"").unwrap(),
        |path| fs::write(path, b"nonsense").unwrap(),
        |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        |path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
    ];
    for damage in damages {
        let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
        keep(&mut disk, &at("/a"), "a");
        damage(&files(&folder.0)[0]);
        assert!(load(&mut disk, &at("/a"), NOW).is_empty());
        assert!(disk.is_empty() && disk.bytes() == 0 && files(&folder.0).is_empty());
    }
    // An entry under the name of another is not believed.
    let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
    keep(&mut disk, &at("/a"), "a");
    let of_a = files(&folder.0).remove(0);
    keep(&mut disk, &at("/b"), "b");
    let of_b = files(&folder.0)
        .into_iter()
        .find(|path| *path != of_a)
        .unwrap();
    fs::copy(of_a, of_b).unwrap();
    assert!(load(&mut disk, &at("/b"), NOW).is_empty());
    assert_eq!(load(&mut disk, &at("/a"), NOW), ["a"]);
}

#[test]
fn what_is_not_ours_is_left_alone_and_leftovers_go() {
    let folder = Folder::new("strange");
    drop(Disk::open(&folder.0, 1 << 20).unwrap());
    let shelf = folder.0.join("ab");
    fs::create_dir(&shelf).unwrap();
    fs::write(folder.0.join("readme"), b"x").unwrap();
    fs::write(shelf.join("notes"), b"x").unwrap();
    fs::write(shelf.join("x.part"), b"x").unwrap();
    let link = shelf.join(format!("{:032x}-{:016x}", 0xab_u128 << 120, 1));
    std::os::unix::fs::symlink("/etc/passwd", link).unwrap();
    let disk = Disk::open(&folder.0, 1 << 20).unwrap();
    assert!(disk.is_empty());
    assert!(folder.0.join("readme").exists() && shelf.join("notes").exists());
    assert!(!shelf.join("x.part").exists());
}

#[test]
fn the_folder_stays_within_its_bound_and_keeps_what_is_used() {
    let folder = Folder::new("bound");
    let limit = 200 * 1024;
    let mut disk = Disk::open(&folder.0, limit).unwrap();
    let mut random = Xorshift::new(5);
    keep(&mut disk, &at("/hot"), "hot");
    for number in 0..300 {
        let path = format!("/{number}");
        keep(&mut disk, &at(&path), &"x".repeat(random.below(12_000)));
        assert_eq!(load(&mut disk, &at("/hot"), NOW), ["hot"]);
        assert!(disk.bytes() <= limit);
    }
    let on_disk: u64 = files(&folder.0)
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum();
    assert!(on_disk <= limit && files(&folder.0).len() == disk.len());
    // One that is too large for the folder is not written.
    keep(&mut disk, &at("/large"), &"x".repeat(100_000));
    assert!(load(&mut disk, &at("/large"), NOW).is_empty());
    drop(disk);
    // With less room than before, the oldest go at once.
    let disk = Disk::open(&folder.0, limit / 4).unwrap();
    assert!(disk.bytes() <= limit / 4 && !disk.is_empty());
}

#[test]
fn variants_of_a_url_are_bounded_on_disk() {
    let folder = Folder::new("variants");
    let mut disk = Disk::open(&folder.0, 16 << 20).unwrap();
    for number in 0..100 {
        let value = number.to_string();
        let case = Case {
            request: &[("Foo", &value)],
            response: &[("Cache-Control", "max-age=60"), ("Vary", "Foo")],
            ..Case::default()
        };
        keep(&mut disk, &case, &value);
    }
    assert_eq!(disk.len(), 64);
}

#[test]
fn purges_reach_the_disk() {
    let folder = Folder::new("purge");
    let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
    for (purge, expected) in [
        (Purge::Url(at("/a").key()), 1),
        (Purge::Tag(tags::site_tag(b"all")), 3),
        (Purge::Tag(tags::site_tag(b"none")), 0),
        (
            Purge::Prefix {
                host: None,
                path: b"/a".to_vec(),
            },
            2,
        ),
        (Purge::Host(b"example.com".to_vec()), 3),
        (Purge::Everything, 3),
    ] {
        for path in ["/a", "/a/b", "/c"] {
            keep(&mut disk, &at(path), path);
        }
        let Done::Purged(count) = disk.run(Job::Purge(purge.clone()), NOW) else {
            panic!("another answer");
        };
        assert_eq!((count, disk.len()), (expected, 3 - expected), "{purge:?}");
        assert_eq!(files(&folder.0).len(), disk.len());
    }
}

#[test]
fn a_purge_of_a_page_or_a_tag_reads_no_other_file() {
    let folder = Folder::new("reads");
    let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
    let path = |host: Option<&[u8]>| Purge::Path {
        host: host.map(<[u8]>::to_vec),
        path: b"/a".to_vec(),
    };
    let one = Case {
        path: "/a",
        query: Some("x=1"),
        response: &[("Cache-Control", "max-age=60"), ("Surrogate-Key", "one")],
        ..Case::default()
    };
    for (purge, count) in [
        (path(Some(b"example.com")), 2),
        (path(None), 2),
        (path(Some(b"other")), 0),
        (Purge::Host(b"other".to_vec()), 0),
        (Purge::Tag(tags::site_tag(b"one")), 1),
    ] {
        // What is read and is nothing is removed: so nothing may be read of this one.
        keep(&mut disk, &at("/b"), "b");
        let of_b = files(&folder.0).remove(0);
        fs::write(&of_b, b"nonsense").unwrap();
        keep(&mut disk, &at("/a"), "a");
        keep(&mut disk, &one, "a");
        let Done::Purged(purged) = disk.run(Job::Purge(purge.clone()), NOW) else {
            panic!("another answer");
        };
        assert_eq!((purged, disk.len()), (count, 3 - count), "{purge:?}");
        assert!(of_b.exists(), "{purge:?}");
        disk.run(Job::Purge(Purge::Everything), NOW);
    }
}

#[test]
fn what_the_disk_refuses_to_remove_is_nothing_and_goes_when_it_can() {
    let folder = Folder::new("refuses");
    let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
    keep(&mut disk, &at("/a"), "a");
    let file = files(&folder.0).remove(0);
    let bytes = fs::read(&file).unwrap();
    // A folder in its place cannot be removed as a file is.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    disk.run(Job::Purge(Purge::Everything), NOW);
    assert_eq!((disk.len(), disk.stuck()), (0, 1));
    fs::remove_dir(&file).unwrap();
    fs::write(&file, bytes).unwrap();
    assert!(load(&mut disk, &at("/a"), NOW).is_empty());
    assert_eq!(disk.stuck(), 0);
    assert!(!file.exists());
}

#[test]
fn a_purge_finds_what_was_there_before_a_restart() {
    let folder = Folder::new("before");
    let mut several = Several::default();
    assert!(Purge::Tag(tags::site_tag(b"all")).add_to(&mut several));
    let path = Purge::Path {
        host: Some(b"example.com".to_vec()),
        path: b"/a".to_vec(),
    };
    for purge in [
        path,
        Purge::Host(b"example.com".to_vec()),
        Purge::Tag(tags::site_tag(b"all")),
        Purge::Several(several),
    ] {
        let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
        keep(&mut disk, &at("/a"), "a");
        drop(disk);
        let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
        disk.run(Job::Purge(Purge::Tag(tags::site_tag(b"none"))), NOW);
        assert_eq!(disk.len(), 1);
        disk.run(Job::Purge(purge.clone()), NOW);
        assert!(disk.is_empty(), "{purge:?}");
        assert!(files(&folder.0).is_empty(), "{purge:?}");
    }
}

#[test]
fn a_disk_that_fails_costs_hits_only() {
    let folder = Folder::new("gone");
    let mut disk = Disk::open(&folder.0, 1 << 20).unwrap();
    keep(&mut disk, &at("/a"), "a");
    fs::remove_dir_all(&folder.0).unwrap();
    assert!(load(&mut disk, &at("/a"), NOW).is_empty());
    // A file stands where the folder was.
    fs::write(&folder.0, b"x").unwrap();
    keep(&mut disk, &at("/a"), "a");
    assert!(load(&mut disk, &at("/a"), NOW).is_empty());
    assert!(Disk::open(&folder.0, 1 << 20).is_err());
    fs::remove_file(&folder.0).unwrap();
}
