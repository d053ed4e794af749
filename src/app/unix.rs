//! Unix sockets that clients connect to, and the files that stand for them.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::base::socket::is_out_of_files;
use crate::config::spec::FileMode;

/// Why a Unix socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on unix:{}: {fault}", path.display())]
pub struct UnixBindError {
    path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("a program listens there already")]
    InUse,
    #[error("a file is there that is no socket")]
    NoSocket,
    #[error("its folder does not exist")]
    NoFolder,
    #[error("permission denied")]
    Forbidden,
    #[error(transparent)]
    Other(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::InUse,
            io::ErrorKind::NotFound => Self::NoFolder,
            io::ErrorKind::PermissionDenied => Self::Forbidden,
            _ => Self::Other(error),
        }
    }
}

impl UnixBindError {
    /// Says what `error` means for `path`.
    pub fn new(path: &Path, error: io::Error) -> Self {
        Self { path: path.to_owned(), fault: error.into() }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match &self.fault {
            Fault::InUse => "stop it (`ss -lxp` names it) or choose another path",
            Fault::NoSocket => "remove it or choose another path",
            Fault::NoFolder => {
                "create it (RuntimeDirectory= of the service makes one in /run) or correct the path"
            }
            Fault::Forbidden => "the gateway's user must be able to write to its folder",
            Fault::Other(error) if is_out_of_files(error) => {
                "raise the limit of open files (LimitNOFILE= of the service, ulimit -n)"
            }
            Fault::Other(_) => "choose another path",
        }
    }
}

/// The file of a socket. Dropped, it is removed, unless it is another socket's by now.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// The files of the sockets that are open. Dropped, all of them are removed, whoever else may open
/// and close some.
#[derive(Debug, Default)]
pub struct SocketFiles(Arc<Mutex<Vec<SocketFile>>>);

/// For who opens and closes sockets.
#[derive(Clone, Debug)]
pub struct FilesOfOpen(Weak<Mutex<Vec<SocketFile>>>);

impl SocketFiles {
    /// By which files are added and removed.
    pub fn open(&self) -> FilesOfOpen {
        FilesOfOpen(Arc::downgrade(&self.0))
    }
}

impl FilesOfOpen {
    /// Keeps these, too; removes them where nobody keeps files any more.
    pub fn add(&self, files: Vec<SocketFile>) {
        self.with(|kept| kept.extend(files));
    }

    /// Gives the socket at `path` another mode, for those who connect from now on.
    pub fn set_mode(&self, path: &Path, mode: FileMode) {
        self.with(|kept| {
            let is_ours = kept.iter().any(|file| file.path == path && file.is_there());
            let set = || fs::set_permissions(path, Permissions::from_mode(mode.0));
            if is_ours && let Err(error) = set() {
                let path = path.display();
                tracing::warn!(%path, %error, "a socket's mode could not be changed");
            }
        });
    }

    /// Removes the one at `path`: nobody can connect there any more.
    pub fn remove(&self, path: &Path) {
        self.with(|kept| kept.retain(|file| file.path != path));
    }

    fn with(&self, act: impl FnOnce(&mut Vec<SocketFile>)) {
        if let Some(kept) = self.0.upgrade() {
            act(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Listens on a Unix socket. Whoever connects waits until somebody accepts: it is the listening that
/// tells another gateway that the socket is in use.
///
/// # Errors
/// When the path is taken by a program that lives or by another kind of file, or cannot be made.
pub fn listen(
    path: &Path,
    mode: FileMode,
    backlog: i32,
) -> Result<(UnixListener, SocketFile), UnixBindError> {
    let listen = || {
        make_room(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile::of(path)?;
        // Nobody can connect before it listens, whatever the file's mode was until here.
        fs::set_permissions(path, Permissions::from_mode(mode.0))?;
        socket.listen(backlog)?;
        // Two that start at once take it from each other before either listens.
        if !file.is_there() {
            return Err(Fault::InUse);
        }
        Ok((socket.into(), file))
    };
    listen().map_err(|fault| UnixBindError { path: path.to_owned(), fault })
}

/// Removes what a process that has died has left behind.
fn make_room(path: &Path) -> Result<(), Fault> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(there) if !there.file_type().is_socket() => return Err(Fault::NoSocket),
        Ok(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "the socket of a process that has died is replaced");
            Ok(fs::remove_file(path)?)
        }
        // Also one whose queue is full.
        Ok(()) => Err(Fault::InUse),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Fault::InUse),
        Err(error) => Err(error.into()),
    }
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let there = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), device: there.dev(), inode: there.ino() })
    }

    /// Whether the path still leads to this socket.
    fn is_there(&self) -> bool {
        fs::symlink_metadata(&self.path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (self.device, self.inode))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.is_there()
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "a socket could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    const MODE: FileMode = FileMode(0o620);

    fn fails(path: &Path) -> String {
        listen(path, MODE, 1).unwrap_err().to_string()
    }

    #[test]
    fn a_socket_has_its_mode_and_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");

        let (_listener, file) = listen(&path, MODE, 1).unwrap();

        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_somebody_listens_on_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let (listener, file) = listen(&path, MODE, 0).unwrap();

        assert!(fails(&path).contains("a program listens there already"), "{}", fails(&path));

        drop(listener.accept().unwrap());
        assert!(UnixStream::connect(&path).is_ok(), "the first still has it");
        drop(file);
    }

    #[test]
    fn the_socket_of_a_process_that_has_died_is_replaced_and_no_other_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (_listener, new) = listen(&path, MODE, 1).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(new);

        fs::write(&path, "precious").unwrap();
        assert!(fails(&path).contains("a file is there that is no socket"), "{}", fails(&path));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_file_that_is_anothers_by_now_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let (_listener, file) = listen(&path, MODE, 1).unwrap();
        fs::rename(&path, folder.path().join("kept")).unwrap();
        let _other = UnixListener::bind(&path).unwrap();

        drop(file);

        assert!(path.exists());
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = fails(Path::new("/nowhere/at/all.sock"));
        assert!(error.starts_with("cannot listen on unix:/nowhere/at/all.sock: "), "{error}");
        assert!(error.contains("its folder does not exist"), "{error}");
    }
}
