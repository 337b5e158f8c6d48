# The session itself is on hvc0: a virtconsole is the terminal, the serial port is not connected.
memory 512
append console=hvc0
options -serial none -monitor none -chardev stdio,id=c0 -device virtio-serial-pci -device virtconsole,chardev=c0
on debian-virtio-6.1 node
long debian-virtio-6.1 qemu

$ tty; awk '/C/ { print $1 }' /proc/consoles
/dev/hvc0
hvc0
$ seq 1 3000 | sha256sum; seq 1 3000 | tail -1
2e57c67a8bbe706a08d6638ec67da02b67b3743ae7d35948cbcf8d1f45cae0a5  -
3000
$ poweroff
{off}
