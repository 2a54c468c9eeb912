# NFS 3 and 4.2, hard and soft: the server was stopped, its machine answers with RST.
outage stop
