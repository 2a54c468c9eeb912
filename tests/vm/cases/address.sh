# NFS 3 and 4.2, hard and soft: the server's address is gone.
outage address
