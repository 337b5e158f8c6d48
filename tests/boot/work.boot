# Programs that lean on the CPU: big numbers, floating point by awk, compressors against themselves, a sort, signals, many processes.
memory 256
on debian-cloud-6.1 node
long debian-cloud-6.1 qemu chromium
long debian-cloud-6.12 chromium

$ echo '2 200 ^ p' | dc
1606938044258990275541962092341162602522202993782792835301376
$ awk 'BEGIN { x = 1; for (i = 0; i < 9; i++) x = (x + 2 / x) / 2; printf "%.15f\n", x }'
1.414213562373095
$ awk 'BEGIN { e = t = 1; for (i = 1; i < 25; i++) { t /= i; e += t } printf "%.14f\n", e }'
2.71828182845905
$ awk 'BEGIN { x = 1; for (i = 0; i < 1060; i++) x /= 2; printf "%.6e %d\n", x, x * 2 == 0 }'
8.094772e-320 0
$ gzip -c /sample | gunzip | cmp - /sample && echo same
same
$ bzip2 -c /sample | bunzip2 | sha256sum
{sha256:sample}  -
$ head -c 30000 /sample | od -An -v -t x1 | tr -s ' ' '\n' | grep . | sort | uniq -c | awk '{ n += $1 } END { print n, NR }'
30000 256
$ for i in $(seq 50); do (exit $i); test $? = $i || echo bad $i; done; echo done
done
$ trap 'echo caught' USR1; kill -USR1 $$; trap - USR1
caught
$ sh -c 'kill -SEGV $$'; echo $?
Segmentation fault
139
$ dd if=/dev/zero of=/tmp/z bs=1M count=32 2>/dev/null; md5sum /tmp/z
58f06dd588d8ffb3beb46ada6309436b  /tmp/z
$ poweroff -f
{off}
