/* SPDX-License-Identifier: MIT */
#include "kernel/dev/uart.h"

#include "kernel/base/string.h"
#include "kernel/dev/chipset.h"

#define UART_PORT 0x3f8
#define UART_SIZE 8
#define IRQ	  4

enum {
	REG_DATA = 0, /* RBR and THR; divisor low with DLAB */
	REG_IER = 1,  /* divisor high with DLAB */
	REG_IIR = 2,  /* FCR when written */
	REG_LCR = 3,
	REG_MCR = 4,
	REG_LSR = 5,
	REG_MSR = 6,
	REG_SCR = 7,
};

#define IER_RECEIVED 0x01
#define IER_THRE     0x02
#define IER_LINE     0x04
#define IER_MODEM    0x08
#define IER_MASK     0x0f

#define IIR_MODEM    0x00
#define IIR_NONE     0x01
#define IIR_THRE     0x02
#define IIR_RECEIVED 0x04
#define IIR_LINE     0x06
#define IIR_TIMEOUT  0x0c
#define IIR_FIFOS    0xc0

#define FCR_ENABLE	  0x01
#define FCR_CLEAR_RX	  0x02
#define FCR_KEPT	  0xc9
#define FCR_TRIGGER_SHIFT 6

#define LCR_DLAB 0x80

#define MCR_DTR	 0x01
#define MCR_RTS	 0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08 /* on a PC: lets the interrupt out */
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f

#define LSR_READY   0x01
#define LSR_OVERRUN 0x02
#define LSR_THRE    0x20
#define LSR_TEMT    0x40

#define MSR_DELTA_CTS 0x01
#define MSR_DELTA_DSR 0x02
#define MSR_TRAIL_RI  0x04
#define MSR_DELTA_DCD 0x08
#define MSR_CTS	      0x10
#define MSR_DSR	      0x20
#define MSR_RI	      0x40
#define MSR_DCD	      0x80

#define FLUSH_NS 2000000ull

static const u8 trigger_levels[] = {1, 4, 8, 14};

/* --- the receiver --- */

static u32 receiver_size(const struct uart *u)
{
	return u->fcr & FCR_ENABLE ? UART_FIFO_SIZE : 1;
}

static void receive(struct uart *u, u8 byte)
{
	if (u->fifo_count >= receiver_size(u)) {
		u->line_errors |= LSR_OVERRUN;
		/* Without FIFO the new byte is the one that stays. */
		if (!(u->fcr & FCR_ENABLE))
			u->fifo[u->fifo_head] = byte;
		return;
	}
	u->fifo[(u->fifo_head + u->fifo_count++) % UART_FIFO_SIZE] = byte;
}

/* Lets in what waits outside. In loopback the receiver does not hear the line. */
static void refill(struct uart *u)
{
	while (!(u->mcr & MCR_LOOP) && u->input_count && u->fifo_count < receiver_size(u)) {
		receive(u, u->input[u->input_head]);
		u->input_head = (u->input_head + 1) % UART_INPUT_SIZE;
		u->input_count--;
	}
}

static u8 take_received(struct uart *u)
{
	if (u->fifo_count) {
		u->last_received = u->fifo[u->fifo_head];
		u->fifo_head = (u->fifo_head + 1) % UART_FIFO_SIZE;
		u->fifo_count--;
		refill(u);
	}
	return u->last_received;
}

/* --- interrupts --- */

static u8 modem_lines(const struct uart *u)
{
	u8 lines = 0;

	if (!(u->mcr & MCR_LOOP)) /* a terminal that is always there */
		return MSR_CTS | MSR_DSR | MSR_DCD;
	if (u->mcr & MCR_RTS)
		lines |= MSR_CTS;
	if (u->mcr & MCR_DTR)
		lines |= MSR_DSR;
	if (u->mcr & MCR_OUT1)
		lines |= MSR_RI;
	if (u->mcr & MCR_OUT2)
		lines |= MSR_DCD;
	return lines;
}

/*
 * What IIR says, by priority. Bytes below the trigger level are reported by the time-out at once:
 * four characters' time is nothing on this line.
 */
static u8 interrupt_cause(const struct uart *u)
{
	if ((u->ier & IER_LINE) && u->line_errors)
		return IIR_LINE;
	if ((u->ier & IER_RECEIVED) && u->fifo_count) {
		if (!(u->fcr & FCR_ENABLE) ||
		    u->fifo_count >= trigger_levels[u->fcr >> FCR_TRIGGER_SHIFT])
			return IIR_RECEIVED;
		return IIR_TIMEOUT;
	}
	if ((u->ier & IER_THRE) && u->thre_pending)
		return IIR_THRE;
	if ((u->ier & IER_MODEM) && u->msr_delta)
		return IIR_MODEM;
	return IIR_NONE;
}

/* OUT2 gates the interrupt on its way to the bus; in loopback the pin is inactive. */
static void update_irq(struct uart *u)
{
	bool gate = (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
	bool irq = gate && interrupt_cause(u) != IIR_NONE;

	if (irq == u->irq)
		return;
	u->irq = irq;
	chipset_irq(u->p, IRQ, irq);
}

/* --- output --- */

/* One piece of what there is goes to the console. true: there is more. */
static bool flush_piece(struct uart *u)
{
	u8 piece[UART_PIECE];
	u32 count, left;
	bool on;

	mutex_lock(&u->output_lock);
	on = spin_lock_irqsave(&u->p->lock);
	count = min(u->output_count, (u32)UART_PIECE);
	memcpy(piece, u->output, count);
	left = u->output_count -= count;
	memmove(u->output, u->output + count, left);
	spin_unlock_irqrestore(&u->p->lock, on);
	if (count)
		vm_console_write(u->p->vm, piece, count);
	mutex_unlock(&u->output_lock);
	return left;
}

/* Others write, too: what came meanwhile has its time. */
static void flush_later(struct uart *u)
{
	bool on = spin_lock_irqsave(&u->p->lock);

	if (u->output_count)
		timer_arm(&u->flush_timer, clock_ns() + FLUSH_NS);
	spin_unlock_irqrestore(&u->p->lock, on);
}

static bool is_full(struct uart *u)
{
	bool on = spin_lock_irqsave(&u->p->lock);
	bool full = u->output_count == UART_OUTPUT_SIZE;

	spin_unlock_irqrestore(&u->p->lock, on);
	return full;
}

static bool has_ended(const struct uart *u)
{
	return __atomic_load_n(&u->p->vm->end, __ATOMIC_ACQUIRE) != VM_END_NONE;
}

/* On a vCPU's thread: there is something else for it to do first. But what it prints meanwhile is not lost. */
static bool is_wanted(struct uart *u)
{
	if (!thread_current()->group)
		return false;
	if (has_ended(u))
		return true;
	return __atomic_load_n(&u->p->vm->paused, __ATOMIC_RELAXED) && !is_full(u);
}

/*
 * All VMs share the console, and each byte is waited for. Who waits for it meanwhile hurries the vCPU, for a
 * while (thread_hurry): a piece is done by then, at 115200 baud also with a line that it completes, for a
 * vCPU that owes a slice. One that is hurried to its VM's end or pause may owe more: it begins none, but
 * to make room before a pause. What is left it writes later, or who takes the VM apart does.
 */
void uart_flush(struct uart *u)
{
	for (u32 i = 0; i < UART_OUTPUT_SIZE / UART_PIECE && !is_wanted(u); i++) {
		if (!flush_piece(u))
			return;
	}
	flush_later(u);
}

/* Interrupt context: the write itself is the vCPU thread's. */
static void flush_due(struct timer *t)
{
	struct uart *u = container_of(t, struct uart, flush_timer);
	struct vcpu *v = u->p->vm->vcpus[0];

	if (v)
		vcpu_request(v, VCPU_REQ_POLL);
}

/* What is left of a register's write without the platform's lock. */
enum left_to_do {
	LEFT_NOTHING,
	LEFT_FLUSH,   /* the batch should go now */
	LEFT_NO_ROOM, /* nor did the byte get into it: again, once it went */
};

/*
 * The transmitter: the byte leaves and the holding register is empty again. The interrupt falls
 * with the write and rises with the register's emptiness, an edge for those who want one.
 * It finds no room where other vCPUs write while who filled the buffer is on its way to the console.
 */
static enum left_to_do transmit(struct uart *u, u8 byte)
{
	enum left_to_do left = LEFT_NOTHING;

	u->thre_pending = false;
	update_irq(u);
	if (u->mcr & MCR_LOOP) {
		receive(u, byte);
	} else if (u->output_count < UART_OUTPUT_SIZE) {
		if (u->output_count == 0)
			timer_arm(&u->flush_timer, clock_ns() + FLUSH_NS);
		u->output[u->output_count++] = byte;
		if (byte == '\n' || u->output_count == UART_OUTPUT_SIZE)
			left = LEFT_FLUSH;
	} else if (!has_ended(u)) { /* else there may never be room */
		return LEFT_NO_ROOM;
	}
	u->thre_pending = true;
	return left;
}

/* --- input --- */

u32 uart_input(struct uart *u, const u8 *bytes, u32 count)
{
	bool on = spin_lock_irqsave(&u->p->lock);
	u32 taken = min(count, UART_INPUT_SIZE - u->input_count);

	for (u32 i = 0; i < taken; i++)
		u->input[(u->input_head + u->input_count + i) % UART_INPUT_SIZE] = bytes[i];
	u->input_count += taken;
	refill(u);
	update_irq(u);
	spin_unlock_irqrestore(&u->p->lock, on);
	return taken;
}

/* --- registers --- */

static u8 read_iir(struct uart *u)
{
	u8 cause = interrupt_cause(u);

	if (cause == IIR_THRE)
		u->thre_pending = false;
	return cause | (u->fcr & FCR_ENABLE ? IIR_FIFOS : 0);
}

static u8 read_lsr(struct uart *u)
{
	u8 value = LSR_THRE | LSR_TEMT | u->line_errors | (u->fifo_count ? LSR_READY : 0);

	u->line_errors = 0;
	return value;
}

static u8 read_msr(struct uart *u)
{
	u8 value = modem_lines(u) | u->msr_delta;

	u->msr_delta = 0;
	return value;
}

static u8 read_register(struct uart *u, u64 reg)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		return dlab ? u->divisor_low : take_received(u);
	case REG_IER:
		return dlab ? u->divisor_high : u->ier;
	case REG_IIR:
		return read_iir(u);
	case REG_LCR:
		return u->lcr;
	case REG_MCR:
		return u->mcr;
	case REG_LSR:
		return read_lsr(u);
	case REG_MSR:
		return read_msr(u);
	default:
		return u->scr;
	}
}

static void write_ier(struct uart *u, u8 value)
{
	/* Enabling it finds the holding register empty. */
	if ((value & IER_THRE) && !(u->ier & IER_THRE))
		u->thre_pending = true;
	u->ier = value & IER_MASK;
}

static void write_fcr(struct uart *u, u8 value)
{
	bool toggled = (value ^ u->fcr) & FCR_ENABLE;

	if (toggled || (value & FCR_CLEAR_RX)) {
		u->fifo_count = 0;
		u->line_errors &= ~LSR_OVERRUN;
	}
	/* The other bits take hold only together with the enable. */
	u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
	refill(u);
}

static void write_mcr(struct uart *u, u8 value)
{
	u8 before = modem_lines(u), changed;

	u->mcr = value & MCR_MASK;
	changed = before ^ modem_lines(u);
	if (changed & MSR_CTS)
		u->msr_delta |= MSR_DELTA_CTS;
	if (changed & MSR_DSR)
		u->msr_delta |= MSR_DELTA_DSR;
	if (changed & MSR_DCD)
		u->msr_delta |= MSR_DELTA_DCD;
	if (changed & before & MSR_RI) /* only its end is told */
		u->msr_delta |= MSR_TRAIL_RI;
	refill(u);
}

static enum left_to_do write_register(struct uart *u, u64 reg, u8 value)
{
	bool dlab = u->lcr & LCR_DLAB;

	switch (reg) {
	case REG_DATA:
		if (!dlab)
			return transmit(u, value);
		u->divisor_low = value;
		break;
	case REG_IER:
		if (dlab)
			u->divisor_high = value;
		else
			write_ier(u, value);
		break;
	case REG_IIR:
		write_fcr(u, value);
		break;
	case REG_LCR:
		u->lcr = value;
		break;
	case REG_MCR:
		write_mcr(u, value);
		break;
	case REG_SCR:
		u->scr = value;
		break;
	}
	return LEFT_NOTHING;
}

static u64 uart_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct uart *u = container_of(d, struct uart, dev);
	bool on = spin_lock_irqsave(&u->p->lock);
	u8 value = read_register(u, offset);

	(void)v;
	(void)size;
	update_irq(u);
	spin_unlock_irqrestore(&u->p->lock, on);
	return value;
}

static void uart_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct uart *u = container_of(d, struct uart, dev);
	enum left_to_do left;
	bool on;

	(void)v;
	(void)size;
	do {
		on = spin_lock_irqsave(&u->p->lock);
		left = write_register(u, offset, (u8)value);
		update_irq(u);
		spin_unlock_irqrestore(&u->p->lock, on);
		if (left != LEFT_NOTHING)
			uart_flush(u);
	} while (left == LEFT_NO_ROOM);
}

/* Bytes typed before a reset are for nobody. */
static void uart_reset(struct device *d)
{
	struct uart *u = container_of(d, struct uart, dev);
	bool on = spin_lock_irqsave(&u->p->lock);

	u->ier = 0;
	u->fcr = 0;
	u->lcr = 0;
	u->mcr = 0;
	u->scr = 0;
	u->divisor_low = 0;
	u->divisor_high = 0;
	u->msr_delta = 0;
	u->line_errors = 0;
	u->last_received = 0;
	u->thre_pending = false;
	u->fifo_count = 0;
	u->input_count = 0;
	u->output_count = 0;
	update_irq(u);
	spin_unlock_irqrestore(&u->p->lock, on);
}

static void uart_destroy(struct device *d)
{
	timer_cancel(&container_of(d, struct uart, dev)->flush_timer);
}

static const struct device_ops uart_ops = {
	.name = "uart",
	.width = 1,
	.read = uart_read,
	.write = uart_write,
	.quick = DEVICE_QUICK_READ,
	.reset = uart_reset,
	.destroy = uart_destroy,
};

int uart_init(struct uart *u, struct platform *p)
{
	u->p = p;
	mutex_init(&u->output_lock, "uart output", LOCK_DEVICE);
	timer_init(&u->flush_timer, flush_due);
	chipset_add(p, &u->dev, &uart_ops);
	return bus_register(&p->vm->bus, SPACE_PIO, UART_PORT, UART_SIZE, &u->dev, 0);
}
