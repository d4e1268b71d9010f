//! The assembler: typed instructions and labels in, `struct bpf_insn` out.

use super::Map;
use std::os::fd::AsRawFd;

/// One instruction as the kernel reads it (`struct bpf_insn`, RFC 9669 section 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Class, operation and kind of the source.
    pub code: u8,
    /// Destination register in the low nibble, source register in the high one.
    pub regs: u8,
    /// Offset of a jump or of a memory access.
    pub off: i16,
    /// Immediate value.
    pub imm: i32,
}

/// A register; R10 is the read-only frame pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the kernel's")]
pub enum Reg {
    R0,
    R1,
    R2,
    R3,
    R4,
    R5,
    R6,
    R7,
    R8,
    R9,
    R10,
}

/// The second operand of an instruction: a register or a sign-extended immediate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// An immediate value.
    Imm(i32),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

impl From<i32> for Operand {
    fn from(value: i32) -> Self {
        Self::Imm(value)
    }
}

/// The width of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// One byte.
    Byte,
    /// Two bytes.
    Half,
    /// Four bytes.
    Word,
    /// Eight bytes.
    Double,
}

impl Size {
    fn code(self) -> u8 {
        match self {
            Self::Word => 0x00,
            Self::Half => 0x08,
            Self::Byte => 0x10,
            Self::Double => 0x18,
        }
    }
}

/// An arithmetic or logical operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Addition.
    Add,
    /// Subtraction.
    Sub,
    /// Multiplication.
    Mul,
    /// Unsigned division; by zero gives zero.
    Div,
    /// Bitwise or.
    Or,
    /// Bitwise and.
    And,
    /// Shift to the left.
    Lsh,
    /// Logical shift to the right.
    Rsh,
    /// Unsigned remainder.
    Mod,
    /// Bitwise exclusive or.
    Xor,
    /// Copy of the operand.
    Mov,
}

impl Op {
    fn code(self) -> u8 {
        match self {
            Self::Add => 0x00,
            Self::Sub => 0x10,
            Self::Mul => 0x20,
            Self::Div => 0x30,
            Self::Or => 0x40,
            Self::And => 0x50,
            Self::Lsh => 0x60,
            Self::Rsh => 0x70,
            Self::Mod => 0x90,
            Self::Xor => 0xa0,
            Self::Mov => 0xb0,
        }
    }
}

/// The condition of a jump; comparisons are unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cond {
    /// Equal.
    Eq,
    /// Not equal.
    Ne,
    /// Greater.
    Gt,
    /// Greater or equal.
    Ge,
    /// Less.
    Lt,
    /// Less or equal.
    Le,
    /// At least one common bit.
    Set,
}

impl Cond {
    fn code(self) -> u8 {
        match self {
            Self::Eq => 0x10,
            Self::Gt => 0x20,
            Self::Ge => 0x30,
            Self::Set => 0x40,
            Self::Ne => 0x50,
            Self::Lt => 0xa0,
            Self::Le => 0xb0,
        }
    }
}

/// A kernel function that programs may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    /// `bpf_map_lookup_elem(map, key) -> value or null`.
    MapLookup,
    /// `bpf_get_smp_processor_id()`.
    ProcessorId,
    /// `bpf_redirect(ifindex, flags)`.
    Redirect,
    /// `bpf_skb_load_bytes(skb, offset, to, len) -> 0 or negative`.
    SkbLoadBytes,
    /// `bpf_redirect_map(map, key, flags)`.
    RedirectMap,
}

impl Helper {
    fn id(self) -> i32 {
        match self {
            Self::MapLookup => 1,
            Self::ProcessorId => 8,
            Self::Redirect => 23,
            Self::SkbLoadBytes => 26,
            Self::RedirectMap => 51,
        }
    }
}

/// A place in the program that jumps go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Says what is wrong with a program before the kernel sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssembleError {
    /// A jump goes to a label that was never bound.
    #[error("the jump at instruction {at} goes to a label that stands nowhere")]
    Unbound {
        /// The jump's place.
        at: usize,
    },
    /// A jump does not fit 16 bits.
    #[error("the jump at instruction {at} is too far")]
    TooFar {
        /// The jump's place.
        at: usize,
    },
}

const CLASS_LDX: u8 = 0x01;
const CLASS_ST: u8 = 0x02;
const CLASS_STX: u8 = 0x03;
const CLASS_ALU32: u8 = 0x04;
const CLASS_JMP: u8 = 0x05;
const CLASS_JMP32: u8 = 0x06;
const CLASS_ALU64: u8 = 0x07;
const MODE_MEM: u8 = 0x60;
const SOURCE_REG: u8 = 0x08;
/// `BPF_LD | BPF_IMM | BPF_DW`: a 64-bit immediate in two slots.
const LOAD_IMM64: u8 = 0x18;
/// `BPF_PSEUDO_MAP_FD`: the immediate is the descriptor of a map.
const PSEUDO_MAP_FD: u8 = 1;
/// `BPF_ALU | BPF_END | BPF_TO_BE`: conversion between host and network order.
const TO_BIG_ENDIAN: u8 = 0xdc;

/// Collects instructions and resolves jumps.
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Insn>,
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// Makes an empty program.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a label that stands nowhere yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Puts a label in front of the next instruction.
    pub fn bind(&mut self, label: Label) -> &mut Self {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(self.code.len());
        }
        self
    }

    /// `dst = src`, 64 bits.
    pub fn mov(&mut self, dst: Reg, src: impl Into<Operand>) -> &mut Self {
        self.alu(Op::Mov, dst, src)
    }

    /// `dst = dst op src`, 64 bits.
    pub fn alu(&mut self, op: Op, dst: Reg, src: impl Into<Operand>) -> &mut Self {
        self.with_operand(CLASS_ALU64 | op.code(), dst, src.into(), 0)
    }

    /// `dst = dst op src`, 32 bits; the upper half of `dst` becomes zero.
    pub fn alu32(&mut self, op: Op, dst: Reg, src: impl Into<Operand>) -> &mut Self {
        self.with_operand(CLASS_ALU32 | op.code(), dst, src.into(), 0)
    }

    /// Converts the low `bits` (16, 32 or 64) of `dst` between host and network order.
    pub fn swap_to_network(&mut self, dst: Reg, bits: i32) -> &mut Self {
        self.push(TO_BIG_ENDIAN, dst, None, 0, bits)
    }

    /// `dst = *(size *)(src + off)`.
    pub fn load(&mut self, size: Size, dst: Reg, src: Reg, off: i16) -> &mut Self {
        self.push(CLASS_LDX | MODE_MEM | size.code(), dst, Some(src), off, 0)
    }

    /// `*(size *)(dst + off) = src`.
    pub fn store(&mut self, size: Size, dst: Reg, off: i16, src: impl Into<Operand>) -> &mut Self {
        match src.into() {
            Operand::Reg(src) => {
                self.push(CLASS_STX | MODE_MEM | size.code(), dst, Some(src), off, 0)
            }
            Operand::Imm(imm) => self.push(CLASS_ST | MODE_MEM | size.code(), dst, None, off, imm),
        }
    }

    /// Goes to `target`.
    pub fn jump(&mut self, target: Label) -> &mut Self {
        self.jumps.push((self.code.len(), target));
        self.push(CLASS_JMP, Reg::R0, None, 0, 0)
    }

    /// Goes to `target` when `dst cond src` holds for 64 bits (an immediate is sign-extended).
    pub fn jump_if(
        &mut self,
        cond: Cond,
        dst: Reg,
        src: impl Into<Operand>,
        target: Label,
    ) -> &mut Self {
        self.jumps.push((self.code.len(), target));
        self.with_operand(CLASS_JMP | cond.code(), dst, src.into(), 0)
    }

    /// Goes to `target` when `dst cond src` holds for the low 32 bits.
    pub fn jump_if32(
        &mut self,
        cond: Cond,
        dst: Reg,
        src: impl Into<Operand>,
        target: Label,
    ) -> &mut Self {
        self.jumps.push((self.code.len(), target));
        self.with_operand(CLASS_JMP32 | cond.code(), dst, src.into(), 0)
    }

    /// Calls a kernel function: arguments in R1 to R5 (lost by the call), answer in R0.
    pub fn call(&mut self, helper: Helper) -> &mut Self {
        self.push(CLASS_JMP | 0x80, Reg::R0, None, 0, helper.id())
    }

    /// `dst = map`; the map must live until the program is loaded, which then keeps it alive.
    pub fn load_map(&mut self, dst: Reg, map: &Map) -> &mut Self {
        self.load_imm64(dst, PSEUDO_MAP_FD, map.as_raw_fd(), 0)
    }

    /// `dst = value`, a full 64-bit immediate.
    pub fn mov64(&mut self, dst: Reg, value: u64) -> &mut Self {
        self.load_imm64(
            dst,
            0,
            (value as u32).cast_signed(),
            ((value >> 32) as u32).cast_signed(),
        )
    }

    /// Ends the program with the answer in R0.
    pub fn exit(&mut self) -> &mut Self {
        self.push(CLASS_JMP | 0x90, Reg::R0, None, 0, 0)
    }

    /// Ends the program with `value`.
    pub fn exit_with(&mut self, value: i32) -> &mut Self {
        self.mov(Reg::R0, value).exit()
    }

    /// Resolves the jumps and returns the program.
    ///
    /// # Errors
    /// When a label stands nowhere or a jump is too far.
    pub fn finish(mut self) -> Result<Vec<Insn>, AssembleError> {
        for (at, label) in self.jumps {
            let target = self.labels.get(label.0).copied().flatten();
            let Some(target) = target else {
                return Err(AssembleError::Unbound { at });
            };
            // The offset counts from the instruction after the jump.
            let distance = target.cast_signed() - at.cast_signed() - 1;
            let off = i16::try_from(distance).map_err(|_| AssembleError::TooFar { at })?;
            if let Some(insn) = self.code.get_mut(at) {
                insn.off = off;
            }
        }
        Ok(self.code)
    }

    fn with_operand(&mut self, code: u8, dst: Reg, src: Operand, off: i16) -> &mut Self {
        match src {
            Operand::Reg(src) => self.push(code | SOURCE_REG, dst, Some(src), off, 0),
            Operand::Imm(imm) => self.push(code, dst, None, off, imm),
        }
    }

    fn load_imm64(&mut self, dst: Reg, pseudo: u8, low: i32, high: i32) -> &mut Self {
        self.code.push(Insn {
            code: LOAD_IMM64,
            regs: dst as u8 | pseudo << 4,
            off: 0,
            imm: low,
        });
        self.code.push(Insn {
            code: 0,
            regs: 0,
            off: 0,
            imm: high,
        });
        self
    }

    fn push(&mut self, code: u8, dst: Reg, src: Option<Reg>, off: i16, imm: i32) -> &mut Self {
        let src = src.map_or(0, |r| r as u8);
        self.code.push(Insn {
            code,
            regs: dst as u8 | src << 4,
            off,
            imm,
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(asm: Assembler) -> Vec<u8> {
        asm.finish()
            .unwrap()
            .iter()
            .flat_map(|i| {
                let mut b = vec![i.code, i.regs];
                b.extend(i.off.to_le_bytes());
                b.extend(i.imm.to_le_bytes());
                b
            })
            .collect()
    }

    /// The bytes are worked out from the tables of RFC 9669; the text beside is the usual one.
    #[test]
    fn instructions_are_encoded_as_rfc_9669_says() {
        let mut asm = Assembler::new();
        asm.mov(Reg::R6, Reg::R1) // r6 = r1
            .load(Size::Word, Reg::R2, Reg::R1, 4) // r2 = *(u32 *)(r1 + 4)
            .alu(Op::Add, Reg::R3, 14) // r3 += 14
            .alu32(Op::And, Reg::R4, 0x0f) // w4 &= 15
            .alu(Op::Lsh, Reg::R4, 2) // r4 <<= 2
            .store(Size::Word, Reg::R10, -4, Reg::R5) // *(u32 *)(r10 - 4) = r5
            .store(Size::Byte, Reg::R10, -1, 7) // *(u8 *)(r10 - 1) = 7
            .swap_to_network(Reg::R5, 16) // r5 = be16 r5
            .call(Helper::MapLookup) // call 1
            .mov(Reg::R0, 2) // r0 = 2
            .exit(); // exit
        let expected: [[u8; 8]; 11] = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x61, 0x12, 4, 0, 0, 0, 0, 0],
            [0x07, 0x03, 0, 0, 14, 0, 0, 0],
            [0x54, 0x04, 0, 0, 15, 0, 0, 0],
            [0x67, 0x04, 0, 0, 2, 0, 0, 0],
            [0x63, 0x5a, 0xfc, 0xff, 0, 0, 0, 0],
            [0x72, 0x0a, 0xff, 0xff, 7, 0, 0, 0],
            [0xdc, 0x05, 0, 0, 16, 0, 0, 0],
            [0x85, 0, 0, 0, 1, 0, 0, 0],
            [0xb7, 0, 0, 0, 2, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes(asm), expected.concat());
    }

    #[test]
    fn jumps_count_from_the_next_instruction_in_both_directions() {
        let mut asm = Assembler::new();
        let (back, out) = (asm.label(), asm.label());
        asm.bind(back)
            .jump_if(Cond::Gt, Reg::R3, Reg::R2, out) // if r3 > r2 goto +2
            .jump_if(Cond::Ne, Reg::R5, 8, back) // if r5 != 8 goto -2
            .jump_if32(Cond::Eq, Reg::R5, -1, back) // if w5 == -1 goto -3
            .bind(out)
            .jump(back); // goto -4
        let expected: [[u8; 8]; 4] = [
            [0x2d, 0x23, 2, 0, 0, 0, 0, 0],
            [0x55, 0x05, 0xfe, 0xff, 8, 0, 0, 0],
            [0x16, 0x05, 0xfd, 0xff, 0xff, 0xff, 0xff, 0xff],
            [0x05, 0, 0xfc, 0xff, 0, 0, 0, 0],
        ];
        assert_eq!(bytes(asm), expected.concat());
    }

    #[test]
    fn a_wide_immediate_takes_two_slots() {
        let mut asm = Assembler::new();
        asm.mov64(Reg::R7, 0x1122_3344_5566_7788);
        let expected: [[u8; 8]; 2] = [
            [0x18, 0x07, 0, 0, 0x88, 0x77, 0x66, 0x55],
            [0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11],
        ];
        assert_eq!(bytes(asm), expected.concat());
    }

    #[test]
    fn a_jump_to_a_label_that_stands_nowhere_is_refused() {
        let mut asm = Assembler::new();
        let nowhere = asm.label();
        asm.mov(Reg::R0, 0).jump(nowhere);
        assert_eq!(asm.finish(), Err(AssembleError::Unbound { at: 1 }));
    }

    #[test]
    fn a_jump_over_more_than_32767_instructions_is_refused() {
        let mut asm = Assembler::new();
        let far = asm.label();
        asm.jump(far);
        for _ in 0..=i16::MAX {
            asm.mov(Reg::R0, 0);
        }
        asm.bind(far).exit();
        assert_eq!(asm.finish(), Err(AssembleError::TooFar { at: 0 }));
    }
}
