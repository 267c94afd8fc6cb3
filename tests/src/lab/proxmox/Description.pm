# What a run of vzdump is like, as lines `KEY VALUE`; a line `guest VMID TYPE` begins a guest, and
# what stands before the first is about the job. A key can come more than once. `\n` is a new line.
#
# About the job:
#   version 9.1              whose words are used
#   option NAME VALUE        of the command line, in this order; one named `=NAME` is not quoted
#   vmids 100 101            of the command line, if they are not those of the guests
#   skipped 103, 104         guests of other nodes
#   storage NAME, dumpdir PATH, pbs, stdout, compress zst, bwlimit KIB, ionice 7, prune KEEP=N,...,
#   notes TEXT, protected, fleecing STORAGE, script PATH, lockwait SECONDS
#   storage-fails TEXT       it cannot be activated
#   notified TARGET, notify-fails TEXT
#   clock SECONDS, zone HOURS   when it begins, and how far east (only if played dry)
#   before LINE              is in the log before vzdump says anything
#   hook PHASE LINE, hook-fails PHASE CODE (of a guest's phase: about the guest)
# About a guest:
#   name, status running|stopped, mode snapshot|suspend|stop
#   disk in KEY VOLUME [SIZE], disk out KEY VOLUME REASON, mount in KEY PATH,
#   mount out TYPE KEY PATH REASON, remark special|snapshots|pending|unused0
#   no-snapshots             of its volumes: `suspend` is tried instead
#   freeze done|silent|disabled|frozen|none, freeze-error TEXT, thaw-error TEXT, tpm, uuid
#   fleecing-unsupported, fleecing-left TEXT
#   bitmap DRIVE new|clean|dirty|invalid|unsupported|missing DIRTY SIZE
#   target BYTES, total BYTES, looks progress SECOND BYTES SKIPPED, end SECOND BYTES ZERO REUSED
#   looks unseen SECOND BYTES SKIPPED   progress that was made but whose line is not in the log
#   size BYTES               of its archive
#   removed ARCHIVE          by pruning, where no files are there to be pruned
#   init-pid PID             of a container; tmpdir PATH, on-nfs: where its files are gathered
#   client TIME REPOSITORY   of Proxmox Backup Server's client, for a container
#   raw STEP LINE, child STEP LINE, fails STEP TEXT, exits STEP CODE, hold STEP PATH,
#   warns STEP TEXT, interrupt STEP, dies STEP
#                            what happens at a step, in this order; the steps are begin, lock,
#                            prepare, assemble, snapshot, mount, sync, kvm, qmp, started, copied,
#                            abort, stop, compress, written, prune, cleanup and verdict
#   backup-time SECONDS      in the archive's name, if it is not when the guest began
#   wait LINE SECONDS        the time that passes before that line of the log (only if played dry)
package Description;
use strict;
use warnings;

my %happens = map { $_ => 1 } qw(raw child fails exits hold warns interrupt dies);

sub parse {
    my ($text) = @_;
    my $job = bless { guests => [] };
    my $about = $job;
    for my $line (split /\n/, $text) {
        my ($key, $value) = $line =~ /^\s*([a-z][\w-]*)(?: (.*))?$/ or next;
        $value = '' if !defined $value;
        $value =~ s/\\(.)/$1 eq 'n' ? "\n" : $1/ge;
        if ($key eq 'guest') {
            my ($vmid, $type) = split / /, $value;
            $about = bless { vmid => $vmid, type => $type };
            push @{ $job->{guests} }, $about;
        } elsif ($happens{$key}) {
            my ($step, $what) = split / /, $value, 2;
            push @{ $about->{happens}{$step} }, [$key, defined $what ? $what : ''];
        } else {
            push @{ $about->{$key} }, $value;
        }
    }
    return $job;
}

# The other way round, for what is passed on in one line.
sub escaped {
    my ($text) = @_;
    $text =~ s/\\/\\\\/g;
    $text =~ s/\n/\\n/g;
    return $text;
}

sub has { return exists $_[0]{ $_[1] } }

sub all { return @{ $_[0]{ $_[1] } || [] } }

sub one {
    my ($self, $key, $default) = @_;
    return exists $self->{$key} ? $self->{$key}[-1] : $default;
}

# The short form: `vmid:type:name:how`, where how is `ok`, `warn=TEXT`, `fail=TEXT`, `die`, or
# `hold=PATH`.
sub of_arguments {
    my ($option, @guests) = @_;
    my $text = '';
    for my $guest (@guests) {
        my ($vmid, $type, $name, $how) = split /:/, $guest, 4;
        my ($word, $more) = split /=/, $how, 2;
        my %happens = (
            ok => '',
            warn => 'warns copied ' . escaped($more // '') . "\n",
            fail => 'fails copied ' . escaped($more // '') . "\n",
            die => "dies copied\n",
            hold => 'hold started ' . ($more // '') . "\n",
        );
        die "$how: what is that?\n" if !exists $happens{$word};
        $text .= "guest $vmid $type\nname $name\n$happens{$word}";
    }
    return parse("storage $option->{storage}\noption storage $option->{storage}\n"
        . "option quiet 1\n$text");
}

1;
