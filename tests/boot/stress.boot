# Translated code under stress: all is translated early and in small modules, which are evicted all the time; regions are dropped, the
# TLB emptied, translated code left, and interrupts raised, at random. The guest does not notice.
memory 128
code stress=1
on debian-cloud-6.1 node
long debian-cloud-6.1 chromium
long debian-cloud-6.12 node

$ seq 1 1000 | awk '{ s += $1 } END { print s }'
500500
$ sha256sum /sample
{sha256:sample}  /sample
$ gzip -c /sample | gunzip | cmp - /sample && echo same
same
$ echo '2 100 ^ p' | dc
1267650600228229401496703205376
$ for i in $(seq 20); do (exit $i); test $? = $i || echo bad $i; done; echo done
done
$ dmesg -r | grep '^<[0-4]>'
{quiet}
$ poweroff -f
{off}
