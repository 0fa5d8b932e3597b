//! Element-wise operators: known functions, fake quantization and small programs.

use tract_onnx::tract_hir::internal::*;

use super::{Buffer, Operator, RunContext, Value, f32s};
use crate::kernels::{self, Activation};
use crate::memory;

/// A copy of `x` that `f` changes in place.
fn changed(x: Value, out: &mut Buffer, f: impl FnOnce(&mut [f32])) -> TractResult<()> {
    let from = f32s(x)?;
    out.fill(x.shape(), |out| {
        out.copy_from_slice(from);
        f(out);
        Ok(())
    })
}

/// A known function of each element.
#[derive(Debug)]
pub struct Unary {
    /// The function.
    pub function: Activation,
}

impl Operator for Unary {
    fn kind(&self) -> &'static str {
        "Unary"
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        changed(inputs[0], out, |x| kernels::activate(ctx.isa, x, self.function))
    }
}

/// Quantizes with constants and dequantizes again, as QuantizeLinear and DequantizeLinear do.
#[derive(Debug)]
pub struct FakeQuant {
    /// Scale, zero point and range.
    pub quant: kernels::FakeQuant,
    /// What is within rounding error of a tie is one.
    pub ties: bool,
    /// Whole steps from the zero point, as floats: dequantized with the scale 1.
    pub steps: bool,
}

impl Operator for FakeQuant {
    fn kind(&self) -> &'static str {
        "FakeQuant"
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        changed(inputs[0], out, |x| match (self.steps, self.ties) {
            (true, ties) => kernels::quant_steps(ctx.isa, x, self.quant, ties),
            (false, true) => kernels::fake_quant_ties(ctx.isa, x, self.quant),
            (false, false) => kernels::fake_quant(ctx.isa, x, self.quant),
        })
    }
}

/// Instructions of [`Map`]. The numbers are part of bundle format 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i64)]
#[allow(missing_docs)]
pub enum Opcode {
    Add = 0,
    Sub = 1,
    Mul = 2,
    Div = 3,
    Max = 4,
    Min = 5,
    Erf = 6,
    Tanh = 7,
    Sqrt = 8,
    Relu = 9,
    Sigmoid = 10,
    Exp = 11,
    Neg = 12,
    Abs = 13,
    FakeQuant = 14,
    /// The mean of the row, at every place.
    Mean = 15,
    /// [`Opcode::FakeQuant`] by [`kernels::fake_quant_ties`].
    FakeQuantTies = 16,
}

impl Opcode {
    const ALL: [Opcode; 17] = {
        use Opcode::*;
        [
            Add,
            Sub,
            Mul,
            Div,
            Max,
            Min,
            Erf,
            Tanh,
            Sqrt,
            Relu,
            Sigmoid,
            Exp,
            Neg,
            Abs,
            FakeQuant,
            Mean,
            FakeQuantTies,
        ]
    };
}

/// Where an instruction reads an operand.
#[derive(Clone, Copy, Debug)]
enum Operand {
    Register(usize),
    Constant(usize),
}

/// A program over each row: register 0 is the input, every instruction fills the next register, the last
/// one is the output.
#[derive(Debug)]
pub struct Map {
    code: Vec<(Opcode, Operand, Operand)>,
    constants: Vec<f32>,
}

impl Map {
    /// Checks and decodes `[opcode, a, b]` triples; a negative operand `-i` is constant `i - 1`.
    pub fn new(code: &[i64], constants: &[f32]) -> TractResult<Map> {
        ensure!(
            code.len().is_multiple_of(3) && !code.is_empty() && code.len() <= 3 * 256,
            "a malformed program"
        );
        let mut out = vec![];
        for (i, c) in code.chunks_exact(3).enumerate() {
            let op = Opcode::ALL.get(usize::try_from(c[0])?).copied().context("an unknown instruction")?;
            let operand = |x: i64| -> TractResult<Operand> {
                if x < 0 {
                    let at = usize::try_from(-(x + 1))?;
                    ensure!(at < constants.len(), "a program reads past its constants");
                    Ok(Operand::Constant(at))
                } else {
                    let r = usize::try_from(x)?;
                    ensure!(r <= i, "a program reads a register before it is written");
                    Ok(Operand::Register(r))
                }
            };
            let (a, b) = (operand(c[1])?, operand(c[2])?);
            if matches!(op, Opcode::FakeQuant | Opcode::FakeQuantTies) {
                let Operand::Constant(k) = b else { bail!("fake quantization without constants") };
                ensure!(
                    k + 4 <= constants.len() && constants[k] > 0.0,
                    "fake quantization without constants"
                );
            }
            out.push((op, a, b));
        }
        Ok(Map { code: out, constants: constants.to_vec() })
    }
}

impl Operator for Map {
    fn kind(&self) -> &'static str {
        "Map"
    }

    fn row_wise(&self) -> bool {
        true
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let x = f32s(inputs[0])?;
        let isa = ctx.isa;
        out.fill(inputs[0].shape(), |out| {
            let n = inputs[0].shape().last().copied().unwrap_or(1).max(1);
            let regs = &mut ctx.scratch.registers;
            let more = (self.code.len() + 1).saturating_sub(regs.len());
            regs.extend(std::iter::repeat_with(Vec::new).take(more));
            for r in regs.iter_mut() {
                memory::resize(r, n, 0.0)?;
            }
            for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
                regs[0].copy_from_slice(x);
                for (i, &(op, a, b)) in self.code.iter().enumerate() {
                    let (read, write) = regs.split_at_mut(i + 1);
                    let y = write[0].as_mut_slice();
                    let get = |o: Operand, j: usize| match o {
                        Operand::Register(r) => read[r][j],
                        Operand::Constant(c) => self.constants[c],
                    };
                    let two = |y: &mut [f32], f: fn(f32, f32) -> f32| {
                        for (j, y) in y.iter_mut().enumerate() {
                            *y = f(get(a, j), get(b, j));
                        }
                    };
                    let function = match op {
                        Opcode::Add => {
                            two(y, |a, b| a + b);
                            None
                        }
                        Opcode::Sub => {
                            two(y, |a, b| a - b);
                            None
                        }
                        Opcode::Mul => {
                            two(y, |a, b| a * b);
                            None
                        }
                        Opcode::Div => {
                            two(y, |a, b| a / b);
                            None
                        }
                        Opcode::Max => {
                            two(y, |a, b| if a > b { a } else { b });
                            None
                        }
                        Opcode::Min => {
                            two(y, |a, b| if a < b { a } else { b });
                            None
                        }
                        Opcode::Sqrt => {
                            two(y, |a, _| a.sqrt());
                            None
                        }
                        Opcode::Neg => {
                            two(y, |a, _| -a);
                            None
                        }
                        Opcode::Abs => {
                            two(y, |a, _| a.abs());
                            None
                        }
                        Opcode::Mean => {
                            let value = match a {
                                Operand::Register(r) => mean(&read[r]),
                                Operand::Constant(c) => self.constants[c],
                            };
                            y.fill(value);
                            None
                        }
                        Opcode::FakeQuant | Opcode::FakeQuantTies => {
                            let Operand::Constant(k) = b else {
                                bail!("fake quantization without constants")
                            };
                            let c = &self.constants[k..k + 4];
                            two(y, |a, _| a);
                            let quant = kernels::FakeQuant {
                                scale: c[0],
                                zero: c[1] as i32,
                                lowest: c[2] as i32,
                                highest: c[3] as i32,
                            };
                            if op == Opcode::FakeQuantTies {
                                kernels::fake_quant_ties(isa, y, quant);
                            } else {
                                kernels::fake_quant(isa, y, quant);
                            }
                            None
                        }
                        Opcode::Relu => Some(Activation::Relu),
                        Opcode::Erf => {
                            two(y, |a, _| kernels::math::erf(a));
                            None
                        }
                        Opcode::Tanh => Some(Activation::Tanh),
                        Opcode::Sigmoid => Some(Activation::Sigmoid),
                        Opcode::Exp => {
                            two(y, |a, _| kernels::math::exp(a));
                            None
                        }
                    };
                    if let Some(f) = function {
                        two(y, |a, _| a);
                        kernels::activate(isa, y, f);
                    }
                }
                out.copy_from_slice(&regs[self.code.len()]);
            }
            Ok(())
        })
    }
}

/// The mean, by 16 partial sums added pairwise: the same bits however wide the vectors are.
fn mean(row: &[f32]) -> f32 {
    let mut lanes = [0f32; 16];
    for chunk in row.chunks(16) {
        for (l, x) in lanes.iter_mut().zip(chunk) {
            *l += x;
        }
    }
    let mut width = 16;
    while width > 1 {
        width /= 2;
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0] / row.len() as f32
}
