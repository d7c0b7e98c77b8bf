/* SPDX-License-Identifier: MIT */
/*
 * SRCU's grace period as smp/srcu.c has it: readers that count on the pair of an index that they
 * sampled earlier, a writer that waits, and the worker that has a callback to run. Each locked
 * instruction of the code is one step here; a sum over the CPUs is not. A reader sleeps in its
 * section and may leave it on another CPU than it entered it on, so the unlocks of one CPU say
 * nothing of its locks: only the sums do.
 *
 * Checked: no reader holds an object that was freed (R28), and nobody sleeps for ever: a state in
 * which no process can go on, though not all have ended, is an error.
 *
 * model: READERS=2 SECTIONS=1 ROUNDS=3: NO_FIRST_WAIT NO_SECOND_WAIT COUNT_LATE LOCKS_FIRST
 *	OWN_LOCKS
 * model: READERS=1 SECTIONS=2 ROUNDS=1 WORKER=1: SHARE_ANY NO_SECOND_LOOK NO_KICK_AT_END
 *	NO_KICK_BY_READER
 * model full: READERS=2 SECTIONS=2 ROUNDS=2:
 * model full: READERS=2 SECTIONS=1 ROUNDS=1 WORKER=1:
 *
 *	NO_FIRST_WAIT	the index flips at once: a reader that sampled it before the last flip and
 *			counted after that is on the pair which new readers get (R28)
 *	NO_SECOND_WAIT	the pair that the index named until the flip is not waited for
 *	COUNT_LATE	a reader's count is no barrier: it loads its pointer first (R28)
 *	LOCKS_FIRST	locks are summed before unlocks
 *	OWN_LOCKS	each CPU's unlocks are to agree with its own locks
 *	SHARE_ANY	the grace period under way is taken for one that begins now
 *	NO_SECOND_LOOK	who waits says so, and sleeps without a look at the sums after that
 *	NO_KICK_...	the worker is not told: by the writer that ended its grace period, or by a
 *			reader that left
 */
#define OBJECTS (ROUNDS + 2)

byte locks[READERS * 2], unlocks[READERS * 2];
bit which; /* srcu.index */
byte draining;
bool calls_wait;

/* drain.lock */
bool drain_lock;
byte ended, wanted;
bool under_way, flipped, asleep;

bool kicked; /* the worker's */

/* What is protected: who publishes takes the next object. */
byte published, fresh;
bool freed[OBJECTS];

#define lock_drain()   atomic { !drain_lock -> drain_lock = true }
#define unlock_drain() drain_lock = false

inline wake_writer()
{
	lock_drain();
	asleep = false;
	unlock_drain()
}

/* On whatever CPU it is by now. */
inline unlock(pair)
{
#if READERS == 1
	unlocks[pair]++
#else
	if
	:: unlocks[pair]++
	:: unlocks[2 + pair]++
	fi
#endif
}

proctype reader(byte me)
{
	byte object, sections;
	bit pair;

	do
	:: sections < SECTIONS ->
		pair = which;
#ifdef COUNT_LATE
		object = published;
		locks[me * 2 + pair]++;
#else
		locks[me * 2 + pair]++;
		object = published;
#endif
		/* freed[] only ever becomes true, so one look at the end is as good as many. */
		assert(!freed[object]);
		unlock(pair);
		if
		:: draining == pair + 1 ->
			wake_writer();
#ifndef NO_KICK_BY_READER
			if
			:: calls_wait -> kicked = true
			:: else
			fi
#endif
		:: else
		fi;
		sections++
	:: else -> break
	od
}

#if READERS == 1
#define sum(array, total) total = array[pair]
#else
#define sum(array, total) total = array[pair]; total = total + array[2 + pair]
#endif

inline sums_agree()
{
#ifdef LOCKS_FIRST
	sum(locks, locks_sum);
	sum(unlocks, unlocks_sum)
#else
	sum(unlocks, unlocks_sum);
	sum(locks, locks_sum)
#endif
#ifdef OWN_LOCKS
	;
	if
	:: locks[pair] != unlocks[pair] -> locks_sum = unlocks_sum + 1
	:: else
	fi
#endif
}

inline drained()
{
	sums_agree();
	if
	:: locks_sum != unlocks_sum ->
		draining = pair + 1;
#ifndef NO_SECOND_LOOK
		sums_agree()
#endif
	:: else
	fi;
	if
	:: locks_sum == unlocks_sum -> draining = 0
	:: else
	fi
}

/* drain_lock held. Sets target_ended. */
inline advance(target)
{
	if
	:: wanted < target -> wanted = target
	:: else
	fi;
	do
	:: ended < wanted ->
		under_way = true;
#ifdef NO_FIRST_WAIT
		if
		:: !flipped -> which = 1 - which; flipped = true
		:: else
		fi;
#endif
		pair = 1 - which;
		drained();
		if
		:: locks_sum != unlocks_sum -> break
		:: else
		fi;
		if
		:: !flipped ->
			which = 1 - which;
			flipped = true;
#ifdef NO_SECOND_WAIT
			flipped = false; under_way = false; ended++; asleep = false
#endif
		:: else ->
			flipped = false;
			under_way = false;
			ended++;
			asleep = false
		fi
	:: else -> break
	od;
	target_ended = (ended >= target)
}

inline next_to_begin(target)
{
#ifdef SHARE_ANY
	target = ended + 1
#else
	target = ended + 1 + under_way
#endif
}

/* A new object in the place of the old one. */
inline publish(old)
{
	atomic { old = published; fresh++; published = fresh }
}

proctype writer()
{
	byte old, target, rounds, locks_sum, unlocks_sum;
	bit pair;
	bool target_ended;

	do
	:: rounds < ROUNDS ->
		publish(old);
		lock_drain();
		next_to_begin(target);
		do
		:: true ->
			advance(target);
			if
			:: target_ended -> break
			:: else
			fi;
			asleep = true;
			unlock_drain();
			!asleep;
			lock_drain()
		od;
		unlock_drain();
#ifndef NO_KICK_AT_END
		if
		:: calls_wait -> kicked = true
		:: else
		fi;
#endif
		freed[old] = true;
		rounds++
	:: else -> break
	od
}

/* One callback: the call, the batch, and looks at it until it is due. */
proctype worker()
{
	byte old, target, locks_sum, unlocks_sum;
	bit pair;
	bool target_ended;

	publish(old);
	lock_drain();
	next_to_begin(target);
	unlock_drain();
	do
	:: true ->
		calls_wait = true;
		lock_drain();
		advance(target);
		unlock_drain();
		if
		:: target_ended -> break
		:: else
		fi;
		atomic { kicked -> kicked = false }
	od;
	calls_wait = false;
	freed[old] = true
}

init {
	atomic {
		run reader(0);
#if READERS == 2
		run reader(1);
#endif
#if WORKER
		run worker();
#endif
		run writer()
	}
}
