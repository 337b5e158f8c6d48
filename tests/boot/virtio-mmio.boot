# The same drivers on memory-mapped registers, which the kernel finds by ACPI.
memory 512
disk 16
options -device virtio-rng-device -drive file={disk},if=none,id=d0,format=raw,snapshot=on -device virtio-blk-device,drive=d0
on debian-virtio-6.1 node

$ ls /sys/bus/platform/drivers/virtio-mmio | grep -c LNRO0005
2
$ mkdir /a; mount -t ext4 /dev/vda /a; sha256sum /a/sample
{sha256:sample}  /a/sample
$ cp /a/sample /a/copy; sync; umount /a; echo 3 > /proc/sys/vm/drop_caches; mount -t ext4 /dev/vda /a; sha256sum /a/copy
{sha256:sample}  /a/copy
$ dd if=/dev/hwrng bs=1000 count=3 2>/dev/null | wc -c
3000
$ poweroff
{off}
