# A process with dirty pages of a dead NFS 3 mount cannot be killed when it closes the file. Our probers can be.
witness
nfs dirty 3
daemon
rm -f /tmp/opened /tmp/write
sh -c 'exec 6>/mnt/dirty/file
    touch /tmp/opened
    until [ -e /tmp/write ]; do sleep 0.05; done
    echo x >&6' &
writer=$!
wait_for_file /tmp/opened
break_drop
mark
touch /tmp/write
sleep 1
kill -9 $writer
expect_dead /mnt/dirty
if grep -q '^State:.*D' /proc/$writer/status 2>/dev/null; then
    note "writer unkillable in $(cat /proc/$writer/wchan)"
else
    note "writer killable"
fi
expect_metric 0 mountstatus_probers_stranded
expect_witness_alive
mark
lab_repair
expect_recovered 120 /mnt/dirty
stop_daemon
