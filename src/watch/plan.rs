//! Which directories must be watched so that no change of what a path leads to goes unseen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// The most symbolic links followed on one path, as the kernel has it.
const MAX_LINKS: usize = 40;

/// The most links among the files of a directory that are followed one by one.
const MAX_LINKED_FILES: usize = 64;

/// The directories to watch, none of them by a symbolic link, each with the names in it that matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan(BTreeMap<PathBuf, Names>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    All,
    These(BTreeSet<OsString>),
}

impl Plan {
    /// What to watch for one file.
    pub(crate) fn of_file(path: &Path) -> Self {
        let mut plan = Self::default();
        plan.follow(path);
        plan
    }

    /// The directories.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Whether `path` is a watched directory itself.
    pub(crate) fn watches(&self, path: &Path) -> bool {
        self.0.contains_key(path)
    }

    /// Whether an event on `path` may mean a change of the credentials.
    pub(crate) fn concerns(&self, path: &Path) -> bool {
        self.watches(path)
            || match (path.parent().and_then(|parent| self.0.get(parent)), path.file_name()) {
                (Some(Names::All), _) => true,
                (Some(Names::These(names)), Some(name)) => names.contains(name),
                _ => false,
            }
    }

    /// Watches for every change in the directory that `path` leads to, and of where it leads to.
    pub(crate) fn follow_directory(&mut self, path: &Path) {
        let Some(directory) = self.follow(path) else { return };
        self.0.insert(directory.clone(), Names::All);
        let Ok(entries) = directory.read_dir() else { return };
        let links = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()));
        for link in links.take(MAX_LINKED_FILES) {
            if let Some(target) = self.follow(&link.path()).filter(|target| target.is_dir()) {
                self.0.insert(target, Names::All);
            }
        }
    }

    /// Watches each link on the way and the name at the end. A watch on a path follows its links once and then sees nothing of their
    /// replacement, so for every link its own directory is watched for its name; of what does not exist, the last directory that does.
    /// Yields the path without links where all of it exists.
    pub(crate) fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let path = std::path::absolute(path).ok()?;
        let mut ahead: VecDeque<OsString> = parts(&path).collect();
        let mut here = PathBuf::from("/");
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == ".." {
                here.pop();
                continue;
            }
            let next = here.join(&part);
            match next.symlink_metadata() {
                Ok(metadata) if metadata.is_symlink() => {
                    self.add(&here, &part);
                    links += 1;
                    let target = next.read_link().ok().filter(|_| links <= MAX_LINKS)?;
                    if target.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                        ahead.push_front(part);
                    }
                }
                Ok(_) => {
                    if ahead.is_empty() {
                        self.add(&here, &part);
                    }
                    here = next;
                }
                Err(error) => {
                    // A file where a directory should be: its own directory is the last that exists.
                    let exists = error.kind() != ErrorKind::NotADirectory;
                    match (exists, here.parent(), here.file_name()) {
                        (false, Some(parent), Some(name)) => self.add(parent, name),
                        _ => self.add(&here, &part),
                    }
                    return None;
                }
            }
        }
        Some(here)
    }

    fn add(&mut self, directory: &Path, name: &OsStr) {
        match self.0.entry(directory.to_owned()).or_insert_with(|| Names::These(BTreeSet::new())) {
            Names::All => {}
            Names::These(names) => {
                names.insert(name.to_owned());
            }
        }
    }
}

/// The names of a path, `..` included.
fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
