# NFS 3 and 4.2, hard and soft: packets to the server are dropped.
outage drop
