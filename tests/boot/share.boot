# Trees of files over virtio-9p, in memory and a directory of the host's: what system calls say, and a tree of files by tar.
memory 512
options -fsdev memory,id=m -device virtio-9p-pci,fsdev=m,mount_tag=memory
options -virtfs local,path={share},mount_tag=share,security_model=none,id=s
on debian-9p-6.1 node

$ mkdir /m /s; mount -t 9p -o trans=virtio,version=9p2000.L,msize=65536,cache=loose memory /m; echo $?
0
$ mount -t 9p -o trans=virtio,version=9p2000.L,msize=65536,cache=loose share /s; echo $?
0
$ errnos /m | diff - /etc/errnos.txt && echo the same
the same
$ rm -r /m/errnos; mkdir /tmp/tree; tree /tmp/tree 10; sums() { (cd $1; find . -type f | sort | xargs sha256sum | sha256sum; find . | sort | xargs stat -c '%n %F %a %h' | sha256sum); }
$ sums /tmp/tree > /tmp/sums; tar cf /tmp/tree.tar -C /tmp tree
$ tar xf /tmp/tree.tar -C /m
$ sums /m/tree | diff - /tmp/sums && echo the same
the same
$ tar xf /tmp/tree.tar -C /s
$ sums /s/tree | diff - /tmp/sums && echo the same
the same
$ rm -r /s/tree /m/tree; ls -A /s /m
/m:

/s:
$ echo words > /s/file; ln -s /etc/passwd /s/out; ln -s .. /s/up; cat /s/file; umount /s /m; echo $?
words
0
$ poweroff
{off}
