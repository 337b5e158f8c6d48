use super::*;

/// A hole in RAM.
const VGA: core::ops::Range<u64> = 0xa_0000..0xc_0000;

fn memory() -> Memory {
    Memory::new(GuestRam::new(1 << 20).expect("1 MiB"), &[VGA])
}

#[test]
fn an_access_hits_only_in_its_own_table_context_and_page() {
    let mut m = memory();
    m.set_context(5);
    m.insert(Access::Read, 0xffff_8000_0000_3000, 0x2000);
    assert!(m.ram.write(0x2ff8, 0x1122_3344_5566_7788_u64));
    assert_eq!(m.load::<u64>(0xffff_8000_0000_3ff8), Some(0x1122_3344_5566_7788));
    assert_eq!(m.load::<u64>(0xffff_8000_0000_3ff9), None, "crosses the page");
    assert!(!m.store::<u8>(0xffff_8000_0000_3000, 1), "not mapped for writing");
    m.set_context(6);
    assert_eq!(m.load::<u8>(0xffff_8000_0000_3ff8), None, "another context");
    m.set_context(5);
    m.flush_page(0xffff_8000_0000_3123);
    assert_eq!(m.load::<u8>(0xffff_8000_0000_3ff8), None);
}

#[test]
fn global_entries_serve_in_other_contexts() {
    let mut m = memory();
    m.set_context(5);
    m.next_is_global(true);
    m.insert(Access::Read, 0x3000, 0x2000);
    m.insert(Access::Read, 0x5000, 0x2000);
    m.next_is_global(false);
    m.insert(Access::Read, 0x4000, 0x2000);
    m.insert(Access::Read, 0x5000, 0x2000);
    let seen = |m: &Memory| [0x3000, 0x4000, 0x5000].map(|va| m.load::<u8>(va).is_some());
    assert_eq!(seen(&m), [true; 3]);
    let adopt = |m: &mut Memory| [0x3000, 0x4000, 0x5000].map(|va| m.adopt_global(Access::Read, va, !3));
    m.set_context(9);
    assert_eq!((seen(&m), adopt(&mut m), seen(&m)), ([false; 3], [Some(0x2000), None, None], [true, false, false]));
    m.set_context(10);
    assert_eq!(adopt(&mut m), [None; 3], "of another mode");
    m.set_context(5);
    assert_eq!(seen(&m), [false, true, true]);
    // An entry that was dropped does not come back as that of some page.
    m.flush_page(0x3000);
    assert_eq!((adopt(&mut m), m.adopt_global(Access::Read, !0xfff | 0x123, !3)), ([None; 3], None));
}

#[test]
fn what_is_not_ram_is_never_mapped() {
    let mut m = memory();
    m.insert(Access::Read, 0x1000, 0xa_0000);
    m.insert(Access::Read, 0x2000, 1 << 20);
    assert_eq!(m.load::<u8>(0x1000), None);
    assert_eq!(m.load::<u8>(0x2000), None);
    assert!(!m.ram.write((1 << 20) - 1, 0_u16));
    assert_eq!(m.ram.read::<u8>(u64::MAX), None);
}

#[test]
fn writes_to_code_leave_the_fast_path_and_are_noted_by_line() {
    let mut m = memory();
    m.insert(Access::Write, 0x7000, 0x3000);
    assert!(m.store(0x7000, 1_u32));
    m.mark_code(0x3040, 1);
    assert!(!m.store(0x7000, 1_u32), "the page holds code now");
    m.insert(Access::Write, 0x7000, 0x3000);
    assert!(!m.store(0x7000, 1_u32));
    assert_eq!((m.guarded(0x7004), m.guarded(0x8004)), (Some(0x3004), None), "known, and to be looked at");
    m.flush_page(0x7000);
    assert_eq!(m.guarded(0x7004), None);
    assert!(!m.wrote(0x303f, 1));
    assert!(m.wrote(0x303f, 2));
    assert!(m.dma_write(0x307f, &[0; 8]));
    assert_eq!(m.take_code_writes(), [(0x303f, 2), (0x307f, 8)]);
    m.unmark_code(0x3040, 0x80);
    m.insert(Access::Write, 0x7000, 0x3000);
    assert!(m.store(0x7000, 1_u32));
}

#[test]
fn no_write_mapping_of_a_page_survives_code_in_it() {
    let far = 0x3000 + 0x1000 * crate::ENTRIES as u64;
    for views in [&[0x3000][..], &[0x3000, far], &[0x3000, 0x9000, 0xa000]] {
        let mut m = memory();
        for flush in [false, true, false] {
            m.insert(Access::Write, views[0], 0x2000);
            if flush {
                m.flush(); // the entry is still named
            }
            views.iter().for_each(|&va| m.insert(Access::Write, va, 0x2000));
            assert!(m.store(views[views.len() - 1] + 8, 1_u8));
            m.mark_code(0x2040, 1);
            assert!(views.iter().all(|&va| !m.store(va + 8, 1_u8)), "{views:x?}");
            m.unmark_code(0x2000, 0x1000);
        }
    }
}
