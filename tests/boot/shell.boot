# The shell answers: arithmetic, a pipe, a checksum of a file, the clock, job control; the machine powers off.
memory 512
on debian-cloud-6.1 node chromium
on debian-cloud-6.12 chromium
long debian-cloud-6.1 qemu firefox
long debian-cloud-6.12 qemu node
long debian-generic-6.1 qemu chromium
long debian-generic-6.12 qemu chromium

$ echo $((6 * 7))
42
$ seq 1 1000 | awk '{ s += $1 } END { print s }'
500500
$ sha256sum /sample
{sha256:sample}  /sample
$ date -u +%s
{now}
$ cat /proc/sys/kernel/ostype; uname -m
Linux
x86_64
$ awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo
{420..512}
$ sleep 100 & jobs %1 | grep -c Running; kill %1; wait
1
[1]+  Terminated                 sleep 100
$ dmesg -r | grep '^<[0-4]>'
{quiet}
$ poweroff
{off}
