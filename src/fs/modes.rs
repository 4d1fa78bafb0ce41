//! `Modes`: the permissions and the owner that the files and directories of a source show. It knows no file.

/// The way a source's permissions and owners are shown. What it does not set is as the source tells, or usual: 0644 for files, 0755 for
/// directories, the user who mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Modes {
    /// The permission bits of every file, in place of those that the source tells.
    pub file: Option<u16>,
    /// The permission bits of every directory, likewise.
    pub directory: Option<u16>,
    /// The permission bits that nothing shows.
    pub umask: u16,
    /// The owner's number.
    pub uid: Option<u32>,
    /// The group's number.
    pub gid: Option<u32>,
}

/// The owner reads everything: who may not is decided by the source, whose users are others.
const OWNER_READS: u16 = 0o400;
const OWNER_ENTERS: u16 = 0o500;

impl Modes {
    /// The permission bits of a file of which the source tells these.
    pub fn of_file(&self, told: Option<u16>) -> u16 {
        self.file.or(told).unwrap_or(0o644) & !self.umask | OWNER_READS
    }

    /// The permission bits of a directory of which the source tells these.
    pub fn of_directory(&self, told: Option<u16>) -> u16 {
        self.directory.or(told).unwrap_or(0o755) & !self.umask | OWNER_ENTERS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_source_tells_comes_before_what_is_usual() {
        let modes = Modes::default();
        assert_eq!((modes.of_file(None), modes.of_directory(None)), (0o644, 0o755));
        assert_eq!((modes.of_file(Some(0o750)), modes.of_directory(Some(0o700))), (0o750, 0o700));
    }

    #[test]
    fn what_is_configured_comes_before_what_the_source_tells() {
        let modes = Modes { file: Some(0o640), directory: Some(0o750), ..Modes::default() };
        assert_eq!((modes.of_file(Some(0o777)), modes.of_directory(Some(0o777))), (0o640, 0o750));
    }

    #[test]
    fn the_mask_takes_bits_from_all_but_the_owner_always_reads() {
        let modes = Modes { umask: 0o077, ..Modes::default() };
        assert_eq!((modes.of_file(Some(0o755)), modes.of_directory(None)), (0o700, 0o700));
        let modes = Modes { umask: 0o777, ..Modes::default() };
        assert_eq!((modes.of_file(Some(0o044)), modes.of_directory(Some(0))), (0o400, 0o500));
    }
}
