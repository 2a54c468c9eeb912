//! The calls that ask a file system for a sign of life. Any of them may never return: prober process only.
