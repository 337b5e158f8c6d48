# Without message-signalled interrupts the devices share the four wires of the PCI bus; drivers let go of devices and take them again.
# The pause in the loop is for Linux before commit cc2f39d6ac48: a driver of random numbers that is let go before its kernel thread has run
# for the first time leaves a dangling pointer to the thread, and the next one to be let go waits for ever, or crashes (with
# QEMU too, at the fourth turn).
memory 512
append pci=nomsi
disk 16
options -device virtio-rng-pci,addr=4 -device virtio-balloon-pci,addr=8 -device virtio-keyboard-pci,addr=5
options -drive file={disk},if=none,id=d0,format=raw,snapshot=on -device virtio-blk-pci,drive=d0,addr=0xc
on debian-virtio-6.1 node
long debian-virtio-6.1 qemu

$ grep -c PCI-MSI /proc/interrupts
0
$ grep -c IO-APIC.*virtio /proc/interrupts
2
$ mkdir /a; mount -t ext4 /dev/vda /a; sha256sum /a/sample; umount /a
{sha256:sample}  /a/sample
$ B=/sys/bus/virtio/drivers; echo virtio3 > $B/virtio_blk/unbind; ls /dev/vda
ls: /dev/vda: No such file or directory
$ echo virtio3 > $B/virtio_blk/bind; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /a; cp /a/sample /a/copy; sync; sha256sum /a/copy
{sha256:sample}  /a/copy
$ for i in 1 2 3 4 5; do for d in rng/virtio0 balloon/virtio2; do D=$B/virtio_${d%/*}; echo ${d#*/} > $D/unbind; echo ${d#*/} > $D/bind; done; sleep 0.2; done; cat $B/virtio_*/virtio[02]/status
0x0000000f
0x0000000f
$ for i in 1 2 3 4 5 6 7 8 9 10; do echo virtio2 > $B/virtio_balloon/unbind; echo virtio2 > $B/virtio_balloon/bind; done; rmmod virtio_balloon virtio_rng; grep -cE '^virtio_(rng|balloon)' /proc/modules; modprobe -a virtio_balloon virtio-rng
0
$ cat /sys/class/misc/hw_random/rng_current; dd if=/dev/hwrng bs=1000 count=3 2>/dev/null | wc -c
virtio_rng.0
3000
$ poweroff
{off}
