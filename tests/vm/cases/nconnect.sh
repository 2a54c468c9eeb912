# Several connections to one server (`nconnect`).
witness
nfs many-4.2 4.2 hard,nconnect=4
nfs many-3 3 hard,nconnect=4
daemon
break_drop
expect_dead /mnt/many-4.2 /mnt/many-3
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/many-4.2 /mnt/many-3
stop_daemon
