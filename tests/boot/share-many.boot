# Ten thousand files unpacked by tar on 9p are those that were packed; without a cache, where each component of a path is asked
# for each time (110 messages a file), a thousand.
memory 1024
options -fsdev memory,id=m -device virtio-9p-pci,fsdev=m,mount_tag=memory
options -virtfs local,path={share},mount_tag=share,security_model=none,id=s
long debian-9p-6.1 node

$ on() { mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=$1 $2 $3; }; mkdir /m /s; on loose memory /m; on none share /s; grep -c ' 9p .*msize=512000' /proc/mounts
2
$ mkdir /tmp/tree; tree /tmp/tree 100; tar cf /tmp/tree.tar -C /tmp tree; find /tmp/tree -type f | wc -l
10101
$ sums() { (cd $1; find . -type f | sort | xargs sha256sum | sha256sum; find . | sort | xargs stat -c '%n %F %a %h' | sha256sum); }; sums /tmp/tree > /tmp/all; sums /tmp/tree/dir-0 > /tmp/part
$ tar xf /tmp/tree.tar -C /m
$ sums /m/tree | diff - /tmp/all && echo the same
the same
$ tar xf /tmp/tree.tar -C /s tree/dir-0
$ sums /s/tree/dir-0 | diff - /tmp/part && echo the same
the same
$ umount /s; on mmap share /s; sums /s/tree/dir-0 | diff - /tmp/part && echo the same
the same
$ poweroff
{off}
