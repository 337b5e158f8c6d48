# Owners, modes and types of a shared directory's files are kept beside them (security_model=mapped-file), by whatever user Node runs
# as: what system calls say, a tree with all kinds of files by tar, and what is there when it is mounted again. The other mount
# shows what the directory holds on the host. Extended attributes are not kept, and types are not told with names.
memory 512
options -virtfs local,path={share},mount_tag=share,security_model=mapped-file,dmode=755,id=s
options -virtfs local,path={share},mount_tag=plain,security_model=none,id=p
on debian-9p-6.1 node

$ mkdir /s /p; on() { mount -t 9p -o trans=virtio,version=9p2000.L,msize=65536,cache=$1 $2 $3; echo $?; }; on loose share /s; on none plain /p
0
0
$ known() { sed '/xattr/d; /^value$/d; /^again$/d; /^zwei$/d; /^$/d; s/, of another type .*//'; }; known < /etc/errnos.txt > /tmp/errnos
$ errnos /s | known | diff - /tmp/errnos && echo the same
the same
$ rm -r /s/errnos; ls -A /s; ls -A /p/.virtfs_metadata
$ mkdir /tmp/tree; tree /tmp/tree 10; cd /tmp/tree; mknod null c 1 3; mknod disk b 254 17; mkfifo fifo; ln -s /etc/passwd link; ln -s nowhere dir-0/link; cp /bin/busybox su; chown 1000:2000 su fifo; chmod 6751 su; ln su dir-1/hard; mkdir -m 1777 tmp; mkdir -m 2750 group; chown 7:8 group dir-2/*; cd /
$ seen() { (cd $1; find . -type f | sort | xargs sha256sum | sha256sum; find . | sort | xargs stat -c '%n %F %a %u %g %h %t,%T' | sed 's/regular empty file/regular file/'; find . -type l | sort | xargs -n 1 readlink); }; seen /tmp/tree > /tmp/seen; tar cf /tmp/tree.tar -C /tmp tree
$ tar xf /tmp/tree.tar -C /s && seen /s/tree | diff - /tmp/seen && echo the same
the same
$ echo 5 > /s/tree/group/file; umount /s; on none share /s; stat -c '%n %A %u %g %t,%T' /s/tree/su /s/tree/null /s/tree/group/file; rm /s/tree/group/file
0
/s/tree/su -rwsr-s--x 1000 2000 0,0
/s/tree/null crw-r--r-- 0 0 1,3
/s/tree/group/file -rw-r--r-- 0 8 0,0
$ seen /s/tree | diff - /tmp/seen && echo the same
the same
$ chown -h 3:4 /s /s/tree/su /s/tree/link; chmod 4711 /s/tree/dir-1/hard; stat -c "%A %u %g" /s /s/tree/su /s/tree/link; ls /s/.virtfs_metadata; touch /s/.virtfs_metadata_root
drwxr-xr-x 3 4
-rws--x--x 3 4
lrwxrwxrwx 3 4
ls: /s/.virtfs_metadata: No such file or directory
touch: /s/.virtfs_metadata_root: Invalid argument
$ cat /p/tree/dir-1/.virtfs_metadata/hard | head -n 3; cat /p/tree/link; echo; find /p/tree ! -type f ! -type d; stat -c %a /p/tree/su /p/tree/null /p/tree/group
virtfs.uid=3
virtfs.gid=4
virtfs.mode=35273
/etc/passwd
600
600
755
$ rm -r /s/tree; ls -A /s; find /p | sort
/p
/p/.virtfs_metadata
/p/.virtfs_metadata_root
$ poweroff
{off}
