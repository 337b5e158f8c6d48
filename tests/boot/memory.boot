# The largest RAM that is promised: the memory map around the PCI hole is right.
memory 3072
on debian-cloud-6.1 chromium
long debian-cloud-6.12 qemu node

$ awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo
{2800..3072}
$ dd if=/dev/zero of=/tmp/z bs=1M count=900 2>/dev/null; stat -c %s /tmp/z
943718400
$ poweroff -f
{off}
