# NFS 3 and 4.2, hard and soft: the server is stopped, and its machine replies with RST.
outage stop
