//! The memory of this process.

/// Makes the heap return memory that a burst has needed. Must be called before the first thread starts.
pub fn limit_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// glibc would make an arena for each of dozens of threads, each of which keeps what it once needed.
        const MAX_ARENAS: i32 = 2;
        /// Larger blocks, such as rendered metrics, are returned to the system when they are freed. glibc raises this
        /// limit with each freed block unless it is set.
        const MMAP_THRESHOLD: i32 = 128 << 10;
        // SAFETY: integer arguments; no other thread exists yet.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, MAX_ARENAS);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
        }
    }
}
