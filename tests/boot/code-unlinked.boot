# The host compiles modules that may not import the function table, as Node 20 and 22 have to.
memory 512
code unlinked
on debian-cloud-6.1 node
long debian-cloud-6.12 chromium

$ seq 1 1000 | awk '{ s += $1 } END { print s }'
500500
$ sha256sum /sample
{sha256:sample}  /sample
$ dmesg -r | grep '^<[0-4]>'
{quiet}
$ poweroff
{off}
