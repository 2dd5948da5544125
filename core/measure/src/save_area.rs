//! The state in which a virtual processor starts (VMSA), as KVM and QEMU set it up.
//!
//! Offsets: AMD64 Architecture Programmer's Manual, volume 2, table B-4.

use crate::{firmware::PAGE, vcpu::Vcpu};

/// The measured page of a processor that starts at `start`.
pub(crate) fn page(start: u32, vcpu: Vcpu, features: u64) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    let [low0, low1, high0, high1] = start.to_le_bytes();
    let (low, high) = ([low0, low1, 0, 0, 0, 0, 0, 0], [0, 0, high0, high1, 0, 0, 0, 0]);
    for data in [ES, SS, DS, FS, GS] {
        segment(&mut page, data, 0, 0x93, [0; 8]);
    }
    segment(&mut page, CS, 0xf000, 0x9b, high);
    segment(&mut page, GDTR, 0, 0, [0; 8]);
    segment(&mut page, IDTR, 0, 0, [0; 8]);
    segment(&mut page, LDTR, 0, 0x82, [0; 8]);
    segment(&mut page, TR, 0, 0x8b, [0; 8]);
    put(&mut page, EFER, &0x1000_u64.to_le_bytes()); // KVM: SVME
    put(&mut page, CR4, &0x40_u64.to_le_bytes()); // KVM: MCE
    put(&mut page, CR0, &0x10_u64.to_le_bytes());
    put(&mut page, DR7, &0x400_u64.to_le_bytes());
    put(&mut page, DR6, &0xffff_0ff0_u64.to_le_bytes());
    put(&mut page, RFLAGS, &2_u64.to_le_bytes());
    put(&mut page, RIP, &low);
    put(&mut page, G_PAT, &0x0007_0406_0007_0406_u64.to_le_bytes());
    put(&mut page, RDX, &u64::from(vcpu.signature()).to_le_bytes());
    put(&mut page, SEV_FEATURES, &features.to_le_bytes());
    put(&mut page, XCR0, &1_u64.to_le_bytes());
    put(&mut page, MXCSR, &0x1f80_u32.to_le_bytes());
    put(&mut page, X87_FCW, &0x37f_u16.to_le_bytes());
    page
}

/// Selector, attributes, limit, base. Every limit is 64 KiB at reset.
fn segment(page: &mut [u8; PAGE], at: usize, selector: u16, attributes: u16, base: [u8; 8]) {
    let [s0, s1] = selector.to_le_bytes();
    let [a0, a1] = attributes.to_le_bytes();
    let [b0, b1, b2, b3, b4, b5, b6, b7] = base;
    put(page, at, &[s0, s1, a0, a1, 0xff, 0xff, 0, 0, b0, b1, b2, b3, b4, b5, b6, b7]);
}

fn put(page: &mut [u8; PAGE], at: usize, bytes: &[u8]) {
    for (slot, byte) in page.iter_mut().skip(at).zip(bytes) {
        *slot = *byte;
    }
}

const ES: usize = 0x00;
const CS: usize = 0x10;
const SS: usize = 0x20;
const DS: usize = 0x30;
const FS: usize = 0x40;
const GS: usize = 0x50;
const GDTR: usize = 0x60;
const LDTR: usize = 0x70;
const IDTR: usize = 0x80;
const TR: usize = 0x90;
const EFER: usize = 0xd0;
const CR4: usize = 0x148;
const CR0: usize = 0x158;
const DR7: usize = 0x160;
const DR6: usize = 0x168;
const RFLAGS: usize = 0x170;
const RIP: usize = 0x178;
const G_PAT: usize = 0x268;
const RDX: usize = 0x310;
const SEV_FEATURES: usize = 0x3b0;
const XCR0: usize = 0x3e8;
const MXCSR: usize = 0x408;
const X87_FCW: usize = 0x410;
