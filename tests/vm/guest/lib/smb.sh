# SMB with the server ksmbd, which can listen only in the initial network namespace, so the client is in another one.

smb_server() {
    case $(uname -r) in 6.1.*) not_applicable "its ksmbd crashes as soon as a share is opened" ;; esac
    # The kernel requests ciphers by aliases, which the image does not have.
    for module in ctr ghash_generic seqiv cmac ccm gcm hmac md4 ecb aes_generic sha256_generic sha512_generic nls_utf8 \
        nls_ucs2_utils arc4 libarc4 des_generic libdes crc32c_generic; do
        modprobe $module 2>/dev/null
    done
    modprobe -a ksmbd cifs || skip "this kernel has no ksmbd"
    mkdir -p /etc/ksmbd /srv/smb
    printf '%s\n' '[global]' ' netbios name = K' ' interfaces = va' ' bind interfaces only = yes' \
        '[share]' ' path = /srv/smb' ' read only = no' >/etc/ksmbd/ksmbd.conf
    smb_password first
    smb_start
}

smb_restart() { # PASSWORD: restarts the server with another password
    ksmbd.control -s >/dev/null 2>&1
    smb_password "$1"
    smb_start
}

smb_start() {
    ksmbd.mountd -n >/tmp/ksmbd.log 2>&1 &
    for _ in $(seq 100); do
        netstat -ltn | grep -q ':445 ' && return 0
        sleep 0.1
    done
    fail "ksmbd does not listen: $(cat /tmp/ksmbd.log)"
}

smb_password() { # PASSWORD
    ksmbd.adduser -d root >/dev/null 2>&1
    ksmbd.adduser -a root -p "$1" >/dev/null 2>&1
}

smb() { # NAME OPTIONS
    mkdir -p "/mnt/$1"
    nsenter -t "$(cat /tmp/server.a)" -n mount.cifs //10.9.0.1/share "/mnt/$1" \
        -o "username=root,password=first,vers=3.1.1,nosharesock,$2" || fail "cannot mount $1"
    ls "/mnt/$1" >/dev/null
}

break_smb() { ip -n a neigh replace 10.9.0.1 lladdr "$UNUSED_ADDRESS" nud permanent dev eth0; }
