/* SPDX-License-Identifier: MIT */
/*
 * A page that is mapped while another is taking it: a fault samples the sequence of the page's
 * region, looks the page up, and links it under the lock bit of its rmap word if the sequence has
 * not moved; an invalidation counts itself in, claims the page, unmaps it under the same bit,
 * frees its frame, and counts itself out (mem/gmem.h, mmu/rmap.h). A word in which neither the lock
 * bit nor a mapping is it passes over without the bit (mmu/sweep.c). Each locked instruction is one
 * step. Frames are numbered afresh, so that an old one is never right by chance.
 *
 * Checked: a frame that is mapped is the page's; nobody waits for ever.
 *
 * model: FAULTS=2: SAMPLE_LATE COUNT_DOWN_FIRST NO_SEQUENCE CHECK_OUTSIDE ANY_SAMPLE UNMAP_UNLOCKED
 *	LINK_UNLOCKED SETTLE_FIRST SKIP_LOCKED LOOK_FIRST
 *
 *	SAMPLE_LATE	 the sequence is sampled after the page was looked up (R08)
 *	COUNT_DOWN_FIRST an invalidation ends in two steps, and the count goes down before the
 *			 sequence goes up (R09)
 *	NO_SEQUENCE	 only the count is there: an invalidation that came and went is not seen
 *	CHECK_OUTSIDE	 the sequence is checked before the lock bit is taken
 *	ANY_SAMPLE	 a sample is good though an invalidation was under way in it
 *	UNMAP_UNLOCKED	 the invalidation looks for mappings without the lock bit
 *	LINK_UNLOCKED	 the fault checks and links without it
 *	SETTLE_FIRST	 the page is there for others again before it was unmapped, so that two may
 *			 take it
 *	SKIP_LOCKED	 the invalidation passes over a word that is locked and has no mapping yet
 *	LOOK_FIRST	 it looks whether there is something to unmap before it counts itself in
 */
#define FRAMES 4 /* the first, and one for each that an invalidation may take; 0 is none */

#define ABSENT 0
#define BUSY   255 /* any other value: the frame that the page is in */

byte entry = 1, frames = 1;
byte count, sequence; /* one word */
byte spte;	      /* the frame that is mapped; 0: none */
bool lock_bit;
bool taken[FRAMES]; /* the frame is not the page's any more */

#define take_bit() atomic { !lock_bit -> lock_bit = true }

inline sample()
{
	atomic { old_count = count; old_sequence = sequence }
}

inline look_up()
{
	atomic { entry != BUSY -> frame = entry }
}

inline check()
{
#ifdef ANY_SAMPLE
	atomic { fits = (count == old_count && sequence == old_sequence) }
#else
	atomic { fits = (old_count == 0 && count == 0 && sequence == old_sequence) }
#endif
}

proctype fault()
{
	byte old_count, old_sequence, frame, faults;
	bool fits;

	do
	:: faults < FAULTS ->
#ifdef SAMPLE_LATE
		look_up();
		sample();
#else
		sample();
		look_up();
#endif
		if
		:: frame == ABSENT ->
			/* The slow path gets a frame, and begins anew. */
			atomic {
				if
				:: entry == ABSENT -> frames++; entry = frames
				:: else
				fi
			}
		:: else ->
#ifdef CHECK_OUTSIDE
			check();
			take_bit();
#else
#ifndef LINK_UNLOCKED
			take_bit();
#endif
			check();
#endif
			if
			:: fits ->
				spte = frame;
				assert(!taken[frame]);
				faults++
			:: else
			fi;
			lock_bit = false
		fi
	:: else -> break
	od
}

/* One word has both. */
inline look_whether_used()
{
#ifdef SKIP_LOCKED
	used = (spte != 0)
#else
	atomic { used = (lock_bit || spte != 0) }
#endif
}

inline unmap()
{
#ifndef LOOK_FIRST
	look_whether_used();
#endif
	if
	:: used ->
#ifdef UNMAP_UNLOCKED
		spte = 0
#else
		take_bit();
		spte = 0;
		lock_bit = false
#endif
	:: else
	fi
}

inline end()
{
#ifdef COUNT_DOWN_FIRST
	count--;
	sequence++
#else
	atomic {
		count--;
#ifndef NO_SEQUENCE
		sequence++
#endif
	}
#endif
}

proctype invalidation()
{
	byte frame;
	bool used;

#ifdef LOOK_FIRST
	look_whether_used();
#endif
	count++;
	atomic {
		if
		:: entry != ABSENT && entry != BUSY -> frame = entry; entry = BUSY
		:: else
		fi
	}
	if
	:: frame ->
#ifdef SETTLE_FIRST
		entry = frame;
#endif
		unmap();
		assert(spte != frame && !taken[frame]);
		taken[frame] = true;
		entry = ABSENT
	:: else
	fi;
	end()
}

init {
	atomic {
		run fault();
		run fault();
		run invalidation();
		run invalidation()
	}
}
