# A reboot through the machine's reset is a second boot to the same prompt.
memory 128
on debian-cloud-6.1 node
long debian-cloud-6.1 qemu chromium
long debian-cloud-6.12 chromium

$ touch /tmp/before; reboot
{again}
$ ls /tmp
$ poweroff -f
{off}
