# The function table cannot grow: nothing can be translated, and the guest does not notice.
memory 512
code slots=0
long debian-cloud-6.1 node

$ seq 1 1000 | awk '{ s += $1 } END { print s }'
500500
$ poweroff
{off}
