//! The prober as a process: started by fork and exec with one socket, killed, reaped.
