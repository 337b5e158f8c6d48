# An installed Debian on an ext4 disk: systemd, compilers and interpreters, a data base, and random blocks written and verified.
memory 1024
long debian-x86_64 node chromium qemu

$ systemctl is-system-running --wait
running
$ findmnt -no SOURCE,FSTYPE /
/dev/vda ext4
$ python3 -c 'print(sum(i * i for i in range(100000)), 2 ** 100)'
333328333350000 1267650600228229401496703205376
$ printf '#include <stdio.h>\n#include <math.h>\nint main(void) { printf("hello %%.12f\\n", sqrt(2)); }\n' > /root/hello.c
$ gcc -O2 -Wall -o /root/hello /root/hello.c -lm && /root/hello
hello 1.414213562373
$ sqlite3 /root/t.db 'create table t(a integer primary key, b); with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t select i, i * i from n; select count(*), sum(b) from t; pragma integrity_check'
20000|2666866670000
ok
$ printf abc | openssl dgst -sha256
SHA2-256(stdin)= ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
$ openssl genrsa -out /root/k.pem 2048 2>/dev/null && printf abc > /root/abc && openssl dgst -sha256 -sign /root/k.pem -out /root/sig /root/abc && openssl rsa -in /root/k.pem -pubout -out /root/pub.pem 2>/dev/null && openssl dgst -sha256 -verify /root/pub.pem -signature /root/sig /root/abc
Verified OK
$ cd /root && git init -q -b main r && cd r && cp ../hello.c . && git add . && git -c user.name=a -c user.email=a@example.org commit -qm one && git fsck --no-progress && git --no-pager log --format=%s && cd /
one
$ xz -9 -k -c /usr/bin/git > /root/git.xz && xz -dc /root/git.xz | cmp - /usr/bin/git && echo same
same
$ verify-disk /root/blocks 64 60 2>/dev/null
no difference
$ sync; dmesg -r | grep -c 'EXT4-fs error\|I/O error'
0
$ systemctl poweroff
{off}
