# NFS 3 and 4.2, hard and soft: the link to the server is down.
outage link
