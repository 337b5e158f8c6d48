# The host compiles three modules and refuses every one after them, as a browser does that has no room for more code: the rest
# is interpreted, and the guest does not notice.
memory 512
code modules=3
on debian-cloud-6.1 node
long debian-cloud-6.12 chromium firefox

$ seq 1 1000 | awk '{ s += $1 } END { print s }'
500500
$ sha256sum /sample
{sha256:sample}  /sample
$ dmesg -r | grep '^<[0-4]>'
{quiet}
$ poweroff
{off}
