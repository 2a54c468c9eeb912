//! Code that needs only POSIX, shared by all back-ends except `linux`. It is compiled for tests on every system, and
//! the back-end `interval` runs it on Linux.

pub(crate) mod channel;
pub mod evidence;
pub(crate) mod interval_timer;
pub(crate) mod listeners;
pub(crate) mod namespace;
pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod remedy;
pub(crate) mod signs;

/// The part of the contract of `MountWatch` for a system that can only read the whole table.
#[allow(unused_macros)] // in the tests on Linux, where this is not the back-end
macro_rules! whole_table_only {
    ($watch:ty) => {
        impl $watch {
            /// Same as `read`: there is no cheaper way.
            ///
            /// # Errors
            /// Those of `read`.
            pub fn read_changes(&mut self, known: &crate::MountTree) -> std::io::Result<crate::TableUpdate> {
                self.read(known).map(crate::TableUpdate::Whole)
            }

            #[must_use]
            pub fn source(&self) -> crate::MountSource {
                crate::MountSource::Text
            }

            /// Always false: every read is complete.
            #[must_use]
            pub fn whole_read_due(&self) -> bool {
                false
            }

            /// Always false.
            #[must_use]
            pub fn has_pending_changes(&self) -> bool {
                false
            }
        }
    };
}
#[allow(unused_imports)]
pub(crate) use whole_table_only;
