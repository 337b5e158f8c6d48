# The kernel's own drivers use the devices on PCI: a file system on a disk, read, written, synchronised and read back from the disk;
# a second disk that is read-only, with a serial number; random numbers; ports; everything is bound to its driver.
memory 512
disk 64
options -device virtio-rng-pci -device virtio-balloon-pci,addr=0x10 -device virtio-keyboard-pci -device virtio-tablet-pci
options -drive file={disk},if=none,id=d0,format=raw,snapshot=on -device virtio-blk-pci,drive=d0,serial=DISK-0,addr=0x11
options -drive file={disk},if=none,id=d1,format=raw,readonly=on -device virtio-blk-pci,drive=d1,addr=0x12
options -chardev null,id=c0 -chardev null,id=c1 -device virtio-serial-pci,addr=0x13 -device virtconsole,chardev=c0 -device virtserialport,chardev=c1,name=org.example.0
on debian-virtio-6.1 node
long debian-virtio-6.1 qemu chromium

$ for d in /sys/bus/virtio/devices/*; do echo $(cat $d/device $d/status) $(basename $(readlink $d/driver)); done | sort | uniq -c | awk '{ print $2, $3, $4, $1 }'
0x0002 0x0000000f virtio_blk 2
0x0003 0x0000000f virtio_console 1
0x0004 0x0000000f virtio_rng 1
0x0005 0x0000000f virtio_balloon 1
0x0012 0x0000000f virtio_input 2
$ mkdir /a /b; mount -t ext4 /dev/vda /a && mount -t ext4 -o ro,noload /dev/vdb /b && sha256sum /a/sample
{sha256:sample}  /a/sample
$ cat /sys/block/vda/serial; echo; cat /sys/block/vda/ro /sys/block/vdb/ro /sys/block/vda/size
DISK-0
0
1
131072
$ dd if=/dev/vda of=/dev/null bs=64k count=1024 2>&1
1024+0 records in
1024+0 records out
$ seq 1 200000 > /a/numbers; (for i in 1 2 3 4 5 6 7 8; do cp /a/sample /a/copy$i & done; wait); md5sum < /a/numbers
0e10426a1d5bddffcef02f1345787128  -
$ sync; umount /a; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /a; md5sum < /a/numbers; cat /a/copy* | wc -c; sha256sum /a/copy8
0e10426a1d5bddffcef02f1345787128  -
2400000
{sha256:sample}  /a/copy8
$ for i in 1 2 3 4 5 6 7; do cmp /a/copy$i /sample; done; rm /a/copy*; fstrim /a; umount /a; mount -t ext4 /dev/vda /a; ls -1 /a
lost+found
numbers
sample
$ echo x > /dev/vdb
sh: write error: Operation not permitted
$ ls -1 /b
lost+found
sample
$ cat /sys/class/misc/hw_random/rng_current; dd if=/dev/hwrng bs=1000 count=3 2>/dev/null | wc -c
virtio_rng.0
3000
$ cat /sys/class/virtio-ports/*/name; echo hello > /dev/vport3p1; echo hello > /dev/hvc0; echo $?
org.example.0
0
$ grep -c virtio /proc/bus/input/devices
{2..20}
$ grep -c PCI-MSI.*virtio /proc/interrupts
{8..30}
$ dmesg -r | grep '^<[0-4]>' | grep -v 'I/O error\|rejecting'
{quiet}
$ poweroff
{off}
