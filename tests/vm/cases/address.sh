# NFS 3 and 4.2, hard and soft: the address of the server is removed.
outage address
