// Guests of a few instructions, as ELF kernels with a PVH entry: 32-bit code, flat segments, paging off.

/** Where the code is loaded and entered. */
const ENTRY = 0x100000;
const COM1 = 0x3f8;

/** `mov dx, port; mov al, value; out dx, al` */
const outb = (port: number, value: number) => [0x66, 0xba, port & 0xff, port >> 8, 0xb0, value, 0xee];

/** Writes `text` to the first serial port. */
export const print = (text: string) => [...new TextEncoder().encode(text)].flatMap((byte) => outb(COM1, byte));

/** `cli; hlt; jmp` back: waits for ever. */
export const HALT = [0xfa, 0xf4, 0xeb, 0xfd];

/** Switches the serial port's FIFOs on, which empties them. */
export const FIFO = outb(COM1 + 2, 1);

/** Polls the serial port and writes what it reads, for ever: `in al, 3fd; test al, 1; jz; in al, 3f8; out 3f8, al; jmp`. */
export const ECHO = [
  ...[0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7],
  ...[0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xef],
];

/** An empty IDT, then an undefined instruction: a triple fault. `push 0; push 0; lidt [esp]; ud2` */
export const TRIPLE_FAULT = [0xbc, 0x00, 0x00, 0x20, 0x00, 0x6a, 0x00, 0x6a, 0x00, 0x0f, 0x01, 0x1c, 0x24, 0x0f, 0x0b];

/** ACPI's S5 by PM1a_CNT with SLP_EN and SLP_TYP 5: `out 604, 3400`. */
export const POWER_OFF = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef, ...HALT];

const u32 = (value: number) => [0, 8, 16, 24].map((shift) => (value >>> shift) & 0xff);

/** `code` in 64-bit mode, SSE enabled. The first and the fourth GiB are mapped to themselves; 1 MiB to 4 MiB are taken. */
export function long(code: readonly number[]): number[] {
  const enter = [
    ...[0xbc, ...u32(0x200000)], // mov esp, 200000
    ...[0xc7, 0x05, ...u32(0x300000), ...u32(0x301003)], // mov dword [300000], 301003: PML4
    ...[0xc7, 0x05, ...u32(0x301000), ...u32(0x83)], // mov dword [301000], 83: a page of 1 GiB
    ...[0xc7, 0x05, ...u32(0x301018), ...u32(0xc0000083)], // mov dword [301018], c0000083
    ...[0xb8, ...u32(0x300000), 0x0f, 0x22, 0xd8], // mov eax, 300000; mov cr3, eax
    ...[0xb8, ...u32(0x220), 0x0f, 0x22, 0xe0], // mov eax, 220; mov cr4, eax: PAE, OSFXSR
    ...[0xb9, ...u32(0xc0000080), 0xb8, ...u32(0x100), 0x31, 0xd2, 0x0f, 0x30], // EFER: LME
    ...[0x68, ...u32(0x209b00), 0x6a, 0, 0x6a, 0, 0x6a, 0], // a GDT of a descriptor of 64-bit code
    ...[0x89, 0xe0, 0x50, 0x66, 0x6a, 15, 0x0f, 0x01, 0x14, 0x24], // mov eax, esp; push eax; push word 15; lgdt [esp]
    ...[0x0f, 0x20, 0xc0, 0x0d, ...u32(0x80000000), 0x0f, 0x22, 0xc0], // mov eax, cr0; or eax, 80000000; mov cr0, eax
  ];
  const jump = 7;
  return [...enter, 0xea, ...u32(ENTRY + enter.length + jump), 8, 0, ...code];
}

/** `mov esi, times`; `body`, which leaves ESI alone; `dec esi; jnz` back to it. */
export const repeat = (times: number, body: readonly number[]) => {
  const turn = [...body, 0xff, 0xce];
  return [0xbe, ...u32(times), ...turn, 0x75, -(turn.length + 2) & 0xff];
};

/** `mov edi, value`. */
export const movEdi = (value: number) => [0xbf, ...u32(value)];

/** An ELF file that is `code`. */
export function elf(code: readonly number[]): Uint8Array<ArrayBuffer> {
  const [headers, note] = [64 + 2 * 56, 20];
  const start = headers + note;
  const file = new Uint8Array(start + code.length);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true); // ET_EXEC
  view.setUint16(18, 62, true); // EM_X86_64
  view.setUint32(20, 1, true);
  view.setBigUint64(24, BigInt(ENTRY), true);
  view.setBigUint64(32, 64n, true); // program headers
  view.setUint16(52, 64, true); // size of this header
  view.setUint16(54, 56, true); // size of a program header
  view.setUint16(56, 2, true); // their number
  const segment = (at: number, type: number, offset: number, addr: number, size: number) => {
    view.setUint32(at, type, true);
    view.setUint32(at + 4, 5, true);
    view.setBigUint64(at + 8, BigInt(offset), true);
    view.setBigUint64(at + 16, BigInt(addr), true);
    view.setBigUint64(at + 24, BigInt(addr), true);
    view.setBigUint64(at + 32, BigInt(size), true);
    view.setBigUint64(at + 40, BigInt(size), true);
    view.setBigUint64(at + 48, 4n, true);
  };
  segment(64, 4, headers, 0, note); // PT_NOTE
  segment(120, 1, start, ENTRY, code.length); // PT_LOAD
  view.setUint32(headers, 4, true);
  view.setUint32(headers + 4, 4, true);
  view.setUint32(headers + 8, 18, true); // XEN_ELFNOTE_PHYS32_ENTRY
  file.set(new TextEncoder().encode("Xen\0"), headers + 12);
  view.setUint32(headers + 16, ENTRY, true);
  file.set(code, start);
  return file;
}
